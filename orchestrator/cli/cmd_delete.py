"""``orchestrator delete``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.complete import complete_job
from orchestrator.cli.options import Home, Json, Url

EXAMPLES = """
orchestrator delete digits-cnn-20261125-204204-cae1
orchestrator delete @last --yes
"""


def command(
    job: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB…",
            help="Ended jobs: names, beginnings of names, or @last.",
            autocompletion=complete_job,
            show_default=False,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> int:
    """Forget ended jobs: their records, logs, metrics, and artifacts in the home directory.

    Artifacts that were sent elsewhere (--output) stay. A name that is not written out is asked
    about first.
    """
    from orchestrator.cli import exits
    from orchestrator.cli.lookup import connected, find_job
    from orchestrator.cli.output import print_json

    with connected(home, url) as transport:
        names = [find_job(transport, given)["spec"]["training_job_name"] for given in job]
        for given, name in zip(job, dict.fromkeys(names), strict=False):
            if given != name and not yes and not typer.confirm(f"forget {name} and its files?"):
                return exits.ERROR
            transport.delete(name)
            if json:
                print_json({"deleted": name})
            else:
                print(f"{name} deleted")
    return exits.DONE

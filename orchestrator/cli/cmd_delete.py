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
    about first. Of a tuning job only itself is forgotten; its training jobs stay.
    """
    from orchestrator.cli import exits
    from orchestrator.cli.lookup import connected, find_either
    from orchestrator.cli.output import print_json
    from orchestrator.sdk.tuning_job import TuningJob

    with connected(home, url) as transport:
        found = {given: find_either(transport, given) for given in job}
        tunings = {each.name: each for each in found.values() if isinstance(each, TuningJob)}
        names = [
            each.name if isinstance(each, TuningJob) else each["spec"]["training_job_name"]
            for each in found.values()
        ]
        for given, name in zip(found, dict.fromkeys(names), strict=False):
            if given != name and not yes and not typer.confirm(f"forget {name} and its files?"):
                return exits.ERROR
            if name in tunings:
                tunings[name].delete()
            else:
                transport.delete(name)
            if json:
                print_json({"deleted": name})
            else:
                print(f"{name} deleted")
    return exits.DONE

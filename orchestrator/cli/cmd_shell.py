"""``orchestrator shell``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Home, JobName
from orchestrator.errors import NotFound
from orchestrator.sdk.transport import URL_VARIABLE

EXAMPLES = """
orchestrator shell @last
orchestrator shell digits-cnn-2026 --host algo-2
orchestrator shell @last -- nvidia-smi
"""


def command(
    ctx: typer.Context,
    job: JobName,
    host: Annotated[str | None, typer.Option(metavar="HOST", help="Which one; algo-1.")] = None,
    home: Home = None,
) -> None:
    """Open a shell beside a running job's program, with its files, variables and network.

    Works on the machine that runs the job. Words after -- are run instead of a shell.
    """
    from orchestrator.cli.inside import way_in
    from orchestrator.cli.lookup import find_job
    from orchestrator.embedded import LocalTransport
    from orchestrator.home import home_directory
    from orchestrator.spec.record import TrainingJobRecord

    # Always by the home: only it says where on this machine the program is.
    transport = LocalTransport(home.expanduser().absolute() if home else home_directory())
    try:
        record = TrainingJobRecord.model_validate(find_job(transport, job))
    except NotFound as error:
        raise _not_here(error, transport.home) from error
    finally:
        transport.close()
    way = way_in(record, host, tuple(ctx.obj or ()), is_terminal=sys.stdin.isatty())
    sys.stdout.flush()
    if way.cwd is not None:
        os.chdir(way.cwd)
    os.execvpe(way.argv[0], list(way.argv), way.environment)  # noqa: S606  # no shell is wanted


def _not_here(error: NotFound, home: Path) -> NotFound:
    """Return the error for a job that another machine may know."""
    url = os.environ.get(URL_VARIABLE)
    if not url:
        return error
    return NotFound(
        f"{error.message}\n`orchestrator shell` asks the home of this machine ({home}), not "
        f"{url}: use it on the machine that runs the job, with the service's --home"
    )

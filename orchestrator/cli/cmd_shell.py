"""``orchestrator shell``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from orchestrator.cli.options import Home, JobName

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
    finally:
        transport.close()
    way = way_in(record, host, tuple(ctx.obj or ()), is_terminal=sys.stdin.isatty())
    sys.stdout.flush()
    if way.cwd is not None:
        os.chdir(way.cwd)
    os.execvpe(way.argv[0], list(way.argv), way.environment)  # noqa: S606  # no shell is wanted

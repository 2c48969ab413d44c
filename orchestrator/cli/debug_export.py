"""``orchestrator debug export``."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.complete import complete_job
from orchestrator.cli.options import Home, Json, Url

EXAMPLES = """
orchestrator debug export @last
orchestrator debug export digits-cnn-2026 --tensorboard runs/digits
orchestrator debug export --traces traces --tensorboard runs
"""


def command(
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="[JOB]",
            help="A job: its name, the beginning of it, or @last for the newest.",
            autocompletion=complete_job,
            show_default=False,
        ),
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Instead of a job: where --traces has kept a command's."),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to; by default ./JOB-tensorboard."),
    ] = None,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """Write what a debugger recorded as TensorBoard's event files: curves, histograms, findings.

    Also while the job trains; call it again for what is new, it replaces the files.
    """
    from orchestrator.cli.lookup import connected, find_job
    from orchestrator.cli.output import note, print_json
    from orchestrator.errors import InvalidSpec
    from orchestrator.sdk.recording import Recording, TraceFolder
    from orchestrator.sdk.tensorboard import write_event_files

    if (job is None) == (traces is None):
        raise InvalidSpec("either a job or --traces DIR must be given; for example @last")
    with ExitStack() as stack:
        if traces is not None:
            name, recording = "traces", Recording(TraceFolder(traces.expanduser()), "")
        else:
            transport = stack.enter_context(connected(home, url))
            name = find_job(transport, job or "")["spec"]["training_job_name"]
            recording = Recording(transport, name)
        stack.enter_context(closing(recording))
        directory = (tensorboard or Path(f"{name}-tensorboard")).expanduser().absolute()
        steps = write_event_files(recording, directory)
    if json:
        print_json({"job": None if job is None else name, "path": str(directory), "steps": steps})
        return
    print(directory)
    if not steps:
        note(
            "no step was recorded"
            + ("" if job is None else f"; see `orchestrator findings {name}`")
        )

"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.complete import complete_job

JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="A job: its name, the beginning of it, or @last for the newest.",
        autocompletion=complete_job,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Home = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Home directory; by default $ORCHESTRATOR_HOME or ~/.orchestrator.",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Address of a running service; by default $ORCHESTRATOR_URL, else the home is used.",
        show_default=False,
    ),
]

"""``orchestrator open``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Home, JobName, Json, Url

EXAMPLES = """
orchestrator open @last
orchestrator open digits-cnn-2026 --output report.html
orchestrator open @last --no-browser
"""


def command(
    job: JobName,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; by default ./JOB.html."),
    ] = None,
    lines: Annotated[int, typer.Option(metavar="N", min=0, help="Log lines of each host.")] = 500,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Show it, where there is a screen.")
    ] = True,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """Write all about a job into one HTML file and show it.

    Phases, curves, the ends of the logs, why it failed, its settings, and how to run it again. The
    file needs nothing else: send it to somebody. Values with secret names are hidden in it.
    """
    from orchestrator.cli.lookup import connected, find_job
    from orchestrator.cli.output import note, print_json
    from orchestrator.cli.reporting import gather, show
    from orchestrator.report.file import check_place, write
    from orchestrator.report.job import render_job
    from orchestrator.spec.record import TrainingJobRecord

    if output is not None:
        output = output.expanduser().absolute()
        check_place(output)
    with connected(home, url) as transport:
        record = TrainingJobRecord.model_validate(find_job(transport, job))
        report = gather(transport, record, lines=lines)
    path = output or Path(f"{record.name}.html").absolute()
    write(path, render_job(report))
    if json:
        print_json({"job": record.name, "path": str(path)})
        return
    print(path)
    if browser and output is None and not show(path):
        note("no browser is here; open the file in one")

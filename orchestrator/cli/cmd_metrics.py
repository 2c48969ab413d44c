"""``orchestrator metrics``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.options import Home, JobName, Json, Url

EXAMPLES = """
orchestrator metrics @last
orchestrator metrics @last train:loss validation:loss
orchestrator metrics @last --export csv --output points.csv
orchestrator metrics @last --export tensorboard --output runs
"""


def command(
    job: JobName,
    name: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…]", help="Metrics to draw together.", show_default=False),
    ] = None,
    export: Annotated[
        Literal["csv", "parquet", "tensorboard"] | None,
        typer.Option(help="Write all points of all metrics instead."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Where --export writes; a directory for TensorBoard."),
    ] = None,
    width: Annotated[
        int | None, typer.Option(metavar="COLUMNS", min=40, help="Width of the drawing.")
    ] = None,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """Draw a job's metrics in the terminal, print them, or export their points.

    Without names every metric gets a line, and the first ones are drawn.
    """
    from orchestrator.cli import curves
    from orchestrator.cli.lookup import connected, find_job
    from orchestrator.cli.output import note, print_json

    with connected(home, url) as transport:
        job_name = find_job(transport, job)["spec"]["training_job_name"]
        if export is not None:
            path = (output or Path(f"{job_name}-metrics{curves.SUFFIXES[export]}")).expanduser()
            transport.export_metrics(job_name, export, path)
            print_json({"path": str(path)}) if json else print(path)
            return
        found = curves.read(transport, job_name, tuple(name or ()))
    if json:
        print_json({"job": job_name, "metrics": [curves.columns(curve) for curve in found]})
    elif not found:
        note(curves.NOTHING)
    else:
        curves.show(found, together=bool(name), width=width)

"""Metric curves: read through a transport, drawn as text, exported."""

from __future__ import annotations

import math
import shutil
import sys
from typing import TYPE_CHECKING, Any

from orchestrator.cli.tables import draw
from orchestrator.errors import NotFound
from orchestrator.metrics.points import Curve, MetricPoint, Source
from orchestrator.report.words import number

if TYPE_CHECKING:
    from orchestrator.sdk.transport import Transport

DRAWN = 4
HEIGHT = 8
SPARK_COLUMNS = 24
MAX_POINTS = 2000
DEFAULT_WIDTH = 100
SUFFIXES = {"csv": ".csv", "parquet": ".parquet", "tensorboard": ""}
HEADER = ("METRIC", "LAST", "MIN", "MAX", "POINTS", "CURVE")
NOTHING = (
    "no metrics yet: print them and give --metric NAME=REGEX to `orchestrator run`, or call "
    "orchestrator_runtime.report_metric in the script"
)
_NOWHERE = Source(0, "", "")


def read(transport: Transport, job: str, names: tuple[str, ...]) -> list[Curve]:
    """Return curves by name; all of a job's for no names.

    Raises:
        NotFound: The job has no such metric.
    """
    known = [metric["name"] for metric in transport.last_metrics(job)]
    for name in names:
        if name not in known:
            raise NotFound(f"NAME must be one of {', '.join(known) or 'none yet'}, got {name!r}")
    return [
        curve_of(transport.metric_curve(job, name, max_points=MAX_POINTS))
        for name in names or known
    ]


def curve_of(answer: dict[str, Any]) -> Curve:
    """Return the curve of a transport's answer."""
    columns = zip(answer["steps"], answer["times"], answer["values"], strict=True)
    points = tuple(
        MetricPoint(answer["name"], value(v), int(time * 1e6), step, None, _NOWHERE, place)
        for place, (step, time, v) in enumerate(columns)
    )
    return Curve(answer["name"], answer["total_points"], points, tuple(answer["steps"]))


def value(found: float | str | None) -> float:
    """Return a value that JSON may have had to spell: ``"NaN"``, ``"Infinity"``, null."""
    return math.nan if found is None else float(found)


def columns(curve: Curve) -> dict[str, Any]:
    """Return a curve as JSON values; what is no number in JSON is null."""
    return {
        "name": curve.name,
        "total_points": curve.count,
        "steps": list(curve.x),
        "times": [point.time_us / 1e6 for point in curve.points],
        "values": [p.value if math.isfinite(p.value) else None for p in curve.points],
    }


def show(curves: list[Curve], *, together: bool, width: int | None) -> None:
    """Print a table of curves and drawings of them.

    Args:
        curves: What to draw.
        together: All in one drawing, instead of one each for the first few.
        width: Columns; None = the terminal's.
    """
    from orchestrator.metrics.plot import plot

    drawn = [by_step(curve) for curve in curves]
    columns_ = width or min(shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns, 120)
    color = sys.stdout.isatty()
    if together:
        print(plot(drawn, width=columns_, color=color and len(drawn) > 1))
        return
    draw([row(curve) for curve in curves], HEADER)
    lines = [curve for curve in drawn if curve.count > 1]
    for curve in lines[:DRAWN]:
        print()
        print(plot(curve, width=columns_, height=HEIGHT, color=color))
    if len(lines) > DRAWN:
        print(f"\nthe first {DRAWN} of {len(lines)} are drawn; name others to draw them")


def by_step(curve: Curve) -> Curve:
    """Return a curve in the order of its steps: several hosts and attempts are mixed by time."""
    order = sorted(range(len(curve.points)), key=lambda place: curve.x[place])
    return Curve(
        curve.name,
        curve.count,
        tuple(curve.points[place] for place in order),
        tuple(curve.indices[place] for place in order),
    )


def row(curve: Curve) -> tuple[str, ...]:
    """Return a curve's cells."""
    from orchestrator.metrics.plot import sparkline

    values = [point.value for point in curve.points]
    finite = [v for v in values if math.isfinite(v)]
    low, high = (number(min(finite)), number(max(finite))) if finite else ("", "")
    last = number(values[-1]) if values else ""
    return (
        curve.name,
        last,
        low,
        high,
        f"{curve.count:,}",
        sparkline(values, SPARK_COLUMNS),
    )

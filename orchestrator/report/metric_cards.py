"""Curves of the metrics that a program reported to the debugger itself; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.report import plot
from orchestrator.report.binning import span_of
from orchestrator.report.chart import Series, line_chart
from orchestrator.report.markup import Markup, tag
from orchestrator.report.names import elided
from orchestrator.report.plot import Curve
from orchestrator.report.words import number

if TYPE_CHECKING:
    from orchestrator_runtime.trace import StepRecord

MOST = 12
KNOWN = frozenset({"loss", "norm", "norm_before_clip", "learning_rate", "clip", "backwards"})
"""Scalars that have a place of their own; all others are metrics of the program."""


def metric_cards(steps: Sequence[StepRecord]) -> Markup | None:
    """Return a small chart for each metric; None where there is none."""
    points: dict[str, list[tuple[int, float]]] = {}
    for record in steps:
        for name in record.scalars.keys() - KNOWN:
            points.setdefault(name, []).append((record.step, record.scalars[name]))
    made = []
    for name in sorted(points)[:MOST]:
        chart = line_chart([_thin(elided(name, 60), points[name])])
        if chart is not None:
            head = (tag("span", number(points[name][-1][1]), class_="last"), elided(name, 60))
            made.append(tag("div", tag("div", *head, class_="name"), chart, class_="card"))
    return tag("div", *made, class_="cards") if made else None


def _thin(name: str, points: Sequence[tuple[int, float]]) -> Series:
    """Return at most some hundred points: of each part its smallest and its largest."""
    curve = Curve(name, tuple(points))
    span = span_of([step for step, _ in points])
    if len(points) <= plot.POINTS:
        chosen = [(float(step), value) for step, value in points]
    else:
        flat = [place for part in plot.places(curve, span) for place in part]
        chosen = [(place.step, value) for place in flat for value in (place.low, place.high)]
    return Series(name, tuple(s for s, _ in chosen), tuple(v for _, v in chosen), len(points))

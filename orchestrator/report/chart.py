"""Line charts as inline SVG: pure, no script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.report.markup import Markup, join, tag

WIDTH = 340
HEIGHT = 190
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 14, 24
TICKS = 4
COLOURS = 6
LEGEND_COLUMNS = 18
DRAWABLE = 1e300  # differences of two values must be finite too


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: Of the metric.
        x: Steps, or places where there are no steps.
        y: Values; NaN and infinite ones interrupt the line and are marked.
        total_points: Before thinning out.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    total_points: int

    @property
    def points(self) -> list[tuple[float, float]]:
        """All points by step: hosts and attempts that share a metric come in the order of time."""
        return sorted(zip(self.x, self.y, strict=True), key=lambda point: point[0])

    @property
    def finite(self) -> tuple[float, ...]:
        """The values that can be drawn."""
        return tuple(value for value in self.y if _drawable(value))


def _drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) < DRAWABLE


@dataclass(frozen=True)
class _Scale:
    """Maps values to places in the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def line_chart(series: Sequence[Series], *, x_name: str = "step") -> Markup | None:
    """Return a chart of one or several lines; None when nothing can be drawn.

    Args:
        series: The lines, in the order of their colours.
        x_name: What the x axis counts.
    """
    drawn = [line for line in series if line.finite]
    if not drawn:
        return None
    xs = [x for line in drawn for x in line.x]
    ys = [y for line in drawn for y in line.finite]
    x_scale = _Scale(*_limits(min(xs), max(xs)), LEFT, WIDTH - RIGHT)
    y_scale = _Scale(*_limits(min(ys), max(ys)), HEIGHT - BOTTOM, TOP)
    parts = [*_grid(y_scale), *_x_axis(x_scale, xs, x_name)]
    for place, line in enumerate(drawn):
        parts += _line(line, x_scale, y_scale, place % COLOURS)
    if len(drawn) > 1:
        parts += _legend(drawn)
    names = ", ".join(line.name for line in drawn)
    return tag(
        "svg",
        tag("title", names),
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"curve of {names}",
    )


def ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """Return round numbers between two limits, about as many as asked for."""
    step = _round_step((high - low) / count)
    first = math.ceil(low / step)
    last = math.floor(high / step)
    return [number * step for number in range(first, last + 1)]


def _round_step(wanted: float) -> float:
    size = 10.0 ** math.floor(math.log10(wanted))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= wanted * 0.999)


def _limits(low: float, high: float) -> tuple[float, float]:
    margin = max(abs(low), abs(high)) * 0.1 or 1.0
    if high - low > margin * 1e-9:
        return low, high
    return low - margin, high + margin


def _grid(scale: _Scale) -> Iterator[Markup]:
    for value in ticks(scale.low, scale.high):
        y = scale.at(value)
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        yield tag("text", f"{value:.4g}", x=LEFT - 6, y=y + 4, text_anchor="end")


def _x_axis(scale: _Scale, xs: Sequence[float], name: str) -> Iterator[Markup]:
    base = HEIGHT - BOTTOM
    yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base, class_="axis")
    first, last = min(xs), max(xs)
    yield tag("text", f"{first:.9g}", x=scale.at(first), y=HEIGHT - 9, text_anchor="start")
    if last > first:
        text = f"{name} {last:.9g}"
        yield tag("text", text, x=scale.at(last), y=HEIGHT - 9, text_anchor="end")


def _line(line: Series, x_scale: _Scale, y_scale: _Scale, colour: int) -> Iterator[Markup]:
    for run in _runs(line):
        places = [(x_scale.at(x), y_scale.at(y)) for x, y in run]
        if len(places) > 1:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            yield tag("polyline", points=points, class_=f"curve s{colour}")
        else:
            yield tag("circle", cx=places[0][0], cy=places[0][1], r=3, class_=f"f{colour}")
    for x, y in line.points:
        if not _drawable(y):
            note = tag("title", f"{line.name} is {y:g} at {x:.9g}")
            yield tag("circle", note, cx=x_scale.at(x), cy=TOP + 4, r=4, class_="odd")


def _runs(line: Series) -> Iterator[list[tuple[float, float]]]:
    """Yield the parts of a line between values that cannot be drawn."""
    run: list[tuple[float, float]] = []
    for x, y in line.points:
        if _drawable(y):
            run.append((x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _legend(series: Sequence[Series]) -> Iterator[Markup]:
    for place, line in enumerate(series):
        y = TOP + 8 + 15 * place
        x = WIDTH - RIGHT - 130
        text = line.name if len(line.name) <= LEGEND_COLUMNS else line.name[:LEGEND_COLUMNS] + "…"
        yield join(
            tag("rect", x=x, y=y - 7, width=10, height=3, class_=f"f{place % COLOURS}"),
            tag("text", text, x=x + 15, y=y),
        )

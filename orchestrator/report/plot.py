"""Curves over steps in the width of a page, on the step axis of the heat maps; pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from orchestrator.report.axes import (
    AXIS_HEIGHT,
    LEFT,
    MARK_HEIGHT,
    RIGHT,
    WIDTH,
    Mark,
    at,
    figure,
    gutter,
    marks,
    power,
    step_axis,
)
from orchestrator.report.binning import Span, bins_of
from orchestrator.report.chart import DRAWABLE, ticks
from orchestrator.report.markup import Markup, tag
from orchestrator.report.words import number

POINTS = 600
LOG_FROM = 100.0  # where the largest is so many times the smallest, steps of ten tell more

STYLE = Markup("""
.steps .band { stroke: none; opacity: .22; } .steps .odd { fill: none; stroke: var(--bad); stroke-width: 1.6; }
""")


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        name: What it shows.
        points: Steps and values, in the order of steps.
    """

    name: str
    points: tuple[tuple[int, float], ...]

    @property
    def finite(self) -> list[float]:
        """The values that can be drawn."""
        return [value for _, value in self.points if drawable(value)]


class Place(NamedTuple):
    """What a curve is at one place: its usual value, and how far it goes around it."""

    step: float
    low: float
    middle: float
    high: float


class Scale(NamedTuple):
    """Maps values to heights."""

    low: float
    high: float
    is_log: bool
    top: float
    bottom: float

    def at(self, value: float) -> float:
        """Return the height of a value; what lies outside is at the edge."""
        place = value
        if self.is_log:
            place = math.log10(value) if value > 0 else -math.inf
        share = (min(max(place, self.low), self.high) - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)


def drawable(value: float) -> bool:
    """Return whether a value has a place in a drawing."""
    return math.isfinite(value) and abs(value) < DRAWABLE


def plot(
    title: str,
    curves: Sequence[Curve],
    span: Span,
    found: Sequence[Mark] = (),
    *,
    high: float = 150,
    is_log: bool | None = None,
) -> Markup | None:
    """Return a chart; None where there is no value at all.

    Args:
        title: Written left of it.
        curves: The lines, in the order of their colours.
        span: The steps of its axis.
        found: Steps to mark.
        high: Of the drawing, without the axis.
        is_log: Whether heights are powers of ten; None where the values decide.
    """
    drawn = [curve for curve in curves if curve.points]
    if not drawn:
        return None
    top, bottom = float(MARK_HEIGHT), MARK_HEIGHT + high
    scale = scale_of([v for curve in drawn for v in curve.finite], is_log, top, bottom)
    parts = list(_grid(scale)) if scale else []
    for colour, curve in enumerate(drawn):
        if scale is not None:
            parts += _line(curve, span, scale, colour)
        parts += _odd(curve, span, top)
    remarks = [line for colour, curve in enumerate(drawn) for line in _remarks(curve, colour)]
    if scale is not None and scale.is_log:
        remarks.append("logarithmic")
    return figure(
        bottom + AXIS_HEIGHT,
        title,
        *parts,
        gutter(title, remarks if len(drawn) > 1 else remarks[1:], top - 8),
        *step_axis(span, bottom),
        *marks(found, span, top, bottom),
    )


def scale_of(
    values: Sequence[float], is_log: bool | None, top: float, bottom: float
) -> Scale | None:
    """Return the scale for some values that can be drawn; None for none."""
    if not values:
        return None
    positive = [value for value in values if value > 0]
    if is_log is None:
        is_log = len(positive) == len(values) and max(values) > LOG_FROM * min(values)
    if is_log and positive:
        low, high = math.log10(min(positive)), math.log10(max(positive))
        if high - low < 1:
            middle = (low + high) / 2
            low, high = middle - 0.5, middle + 0.5
        return Scale(low, high, True, top, bottom)
    low, high = min(values), max(values)
    margin = (high - low) * 0.04 or abs(low) * 0.1 or 1.0
    return Scale(low - margin, high + margin, False, top, bottom)


def places(curve: Curve, span: Span) -> list[list[Place]]:
    """Return a curve in at most POINTS places, in parts between values that cannot be drawn."""
    points = curve.points
    if len(points) <= POINTS:
        found = [[point] for point in points]
    else:
        bins = bins_of([step for step, _ in points], span, POINTS, pairs=True)
        found = [list(points[begin:end]) for begin, end in bins.slices if end > begin]
    parts: list[list[Place]] = [[]]
    for some in found:
        values = [value for _, value in some if drawable(value)]
        if values:
            step = sum(step for step, _ in some) / len(some)
            middle = statistics.median(values)
            parts[-1].append(Place(step, min(values), middle, max(values)))
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def _line(curve: Curve, span: Span, scale: Scale, colour: int) -> Iterator[Markup]:
    for part in places(curve, span):
        xs = [f"{at(place.step, span):.1f}" for place in part]
        if len(part) == 1:
            yield tag(
                "circle", cx=float(xs[0]), cy=scale.at(part[0].middle), r=3, class_=f"f{colour}"
            )
            continue
        if any(place.low < place.high for place in part):
            upper = [f"{x},{scale.at(p.high):.1f}" for x, p in zip(xs, part, strict=True)]
            lower = [f"{x},{scale.at(p.low):.1f}" for x, p in zip(xs, part, strict=True)]
            outline = " ".join([*upper, *reversed(lower)])
            yield tag("polygon", points=outline, class_=f"band f{colour}")
        line = " ".join(f"{x},{scale.at(p.middle):.1f}" for x, p in zip(xs, part, strict=True))
        yield tag("polyline", points=line, class_=f"curve s{colour}")


def _odd(curve: Curve, span: Span, top: float) -> Iterator[Markup]:
    """Mark values that cannot be drawn, one for each few points of the width."""
    last = -math.inf
    for step, value in curve.points:
        x = at(step, span)
        if drawable(value) or x - last < 6:
            continue
        last = x
        y = top + 6
        yield tag(
            "path",
            tag("title", f"{curve.name} is {value:g} at step {step:,}"),
            d=f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6",
            class_="odd",
        )


def _grid(scale: Scale) -> Iterator[Markup]:
    for value, text in _ticks(scale):
        y = scale.bottom - (value - scale.low) / (scale.high - scale.low) * (
            scale.bottom - scale.top
        )
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        yield tag("text", text, x=LEFT - 8, y=y + 4, text_anchor="end")


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    if not scale.is_log:
        return [(v, f"{v:.4g}") for v in ticks(scale.low, scale.high, 4)]
    if scale.high - scale.low < 2:
        exact = ((e, n) for e in range(math.floor(scale.low), 400) for n in (1, 2, 5))
        placed = ((e + math.log10(n), n, e) for e, n in exact)
        inside = takewhile(lambda each: each[0] <= scale.high, placed)
        return [(place, f"{n * 10.0**e:.3g}") for place, n, e in inside if place >= scale.low]
    first, last = math.ceil(scale.low), math.floor(scale.high)
    every = max(1, math.ceil((last - first) / 5))
    return [(float(e), power(e)) for e in range(first, last + 1, every)]


def _remarks(curve: Curve, colour: int) -> Iterator[Markup | str]:
    yield tag("tspan", f"━ {curve.name}", class_=f"f{colour}")
    finite = curve.finite
    last = curve.points[-1][1]
    yield f"last {number(last)}"
    if finite and min(finite) < max(finite):
        yield f"{min(finite):.4g} to {max(finite):.4g}"
    missing = len(curve.points) - len(finite)
    if missing:
        yield f"not finite: {missing:,} steps"

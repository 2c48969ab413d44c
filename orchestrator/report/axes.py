"""What charts over steps share: one step axis, marks of findings, names in the gutter; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from orchestrator.report.binning import Span
from orchestrator.report.chart import ticks
from orchestrator.report.markup import Markup, join, tag

WIDTH = 1040
LEFT, RIGHT = 232, 16
MARK_HEIGHT = 20
AXIS_HEIGHT = 34
NEAR = 17.0  # marks that are nearer than this share a label
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Mark(NamedTuple):
    """A step that is marked in all charts.

    Attributes:
        label: One or two characters: the number of the finding.
        stops: Whether the job was stopped there.
    """

    step: int
    label: str
    title: str
    stops: bool = False


def at(step: float, span: Span) -> float:
    """Return the place of a step from left to right."""
    return LEFT + (step - span.low) / (span.high - span.low) * (WIDTH - RIGHT - LEFT)


def step_axis(span: Span, y: float) -> Iterator[Markup]:
    """Draw round steps below a chart."""
    yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="axis")
    end = LEFT - 60.0
    for value in sorted({*map(int, ticks(span.low, span.high, 8)), span.low}):
        x = at(value, span)
        text = f"{value:,}"
        if not span.low <= value < span.high or x - end < 12 + 6 * len(text):
            continue
        end = x
        yield tag("line", x1=x, x2=x, y1=y, y2=y + 4, class_="axis")
        yield tag("text", text, x=x, y=y + 16, text_anchor="middle")
    yield tag("text", "step", x=LEFT - 8, y=y + 16, text_anchor="end")


def marks(found: Sequence[Mark], span: Span, top: float, bottom: float) -> Iterator[Markup]:
    """Draw lines at the marked steps, with their labels above the chart."""
    for group in _groups([mark for mark in found if span.low <= mark.step < span.high], span):
        for mark in sorted(group, key=lambda each: each.stops):  # a stop is seen in any case
            x = at(mark.step, span)
            kind = "stop" if mark.stops else "mark"
            for layer in ("halo", kind):
                yield tag("line", x1=x, x2=x, y1=top, y2=bottom, class_=layer)
        yield _label(group, span, top)


def _groups(found: Sequence[Mark], span: Span) -> list[list[Mark]]:
    groups: list[list[Mark]] = []
    for mark in sorted(found, key=lambda each: each.step):
        if groups and at(mark.step, span) - at(groups[-1][-1].step, span) < NEAR:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    return groups


def _label(group: Sequence[Mark], span: Span, top: float) -> Markup:
    stops = any(mark.stops for mark in group)
    text = ",".join(mark.label for mark in group[:3]) + ("…" if len(group) > 3 else "")
    text = f"stop {text}" if stops else text
    width = 9 + 6.6 * len(text)
    middle = (at(group[0].step, span) + at(group[-1].step, span)) / 2
    middle = min(max(middle, LEFT + width / 2 - 8), WIDTH - width / 2 - 1)
    return tag(
        "g",
        tag("title", "\n".join(mark.title for mark in group)),
        tag(
            "rect",
            x=middle - width / 2,
            y=top - 18,
            width=width,
            height=15,
            rx=7.5,
            class_="stopflag" if stops else "flag",
        ),
        tag("text", text, x=middle, y=top - 7, text_anchor="middle", class_="flagtext"),
    )


def gutter(title: str, lines: Sequence[Markup | str], top: float) -> Markup:
    """Draw a chart's title and remarks left of it."""
    return join(
        tag("text", title, x=0, y=top + 12, class_="title"),
        *(tag("text", line, x=0, y=top + 30 + 15 * n) for n, line in enumerate(lines)),
    )


def figure(height: float, title: str, *parts: Markup | None, **more: str) -> Markup:
    """Return a chart over steps; a narrow screen scrolls it."""
    return tag(
        "svg",
        tag("title", title),
        *parts,
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        aria_label=title,
        class_="steps",
        **more,
    )


def power(exponent: int) -> str:
    """Return a power of ten as people write it."""
    return "1" if exponent == 0 else f"10{str(exponent).translate(_SUPERSCRIPTS)}"

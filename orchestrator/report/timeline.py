"""The phases of a job as one bar per attempt, drawn to scale, and what each of them took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.report.markup import Markup, join, tag
from orchestrator.report.words import duration

WIDTH = 1000
HEIGHT = 10
LEAST = 2.0
COLOURS = {
    "Pending": 5,
    "Starting": 1,
    "Downloading": 3,
    "Training": 0,
    "Uploading": 2,
    "Stopping": 4,
    "Restarting": 5,
    "Interrupted": 4,
}


@dataclass(frozen=True)
class Phase:
    """A stretch of time in one phase."""

    name: str
    attempt: int
    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0.0, (self.end - self.start).total_seconds())


def timeline(phases: Sequence[Phase]) -> Markup | None:
    """Return the bars; None when no phase took any time."""
    phases = [phase for phase in phases if phase.seconds > 0]
    if not phases:
        return None
    start = min(phase.start for phase in phases)
    total = (max(phase.end for phase in phases) - start).total_seconds()
    attempts = sorted({phase.attempt for phase in phases})
    return join(
        *(
            _lane(attempt, [p for p in phases if p.attempt == attempt], start, total)
            for attempt in attempts
        )
    )


def _lane(attempt: int, phases: Sequence[Phase], start: datetime, total: float) -> Markup:
    # The bar is stretched to the width that there is; text in it would be, too.
    bars = tag(
        "svg",
        *(_bar(phase, start, total) for phase in phases),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"phases of attempt {max(attempt, 1)}",
        class_="bars",
    )
    took: dict[str, float] = {}
    for phase in phases:
        took[phase.name] = took.get(phase.name, 0.0) + phase.seconds
    legend = (
        tag("span", tag("svg", _dot(name), viewBox="0 0 10 10"), f" {name} {duration(seconds)}")
        for name, seconds in took.items()
    )
    title = tag("span", f"attempt {max(attempt, 1)}", class_="soft")
    return tag("div", bars, tag("div", title, *legend, class_="legend"), class_="lane")


def _colour(name: str) -> str:
    return f"f{COLOURS.get(name, 5)}"


def _dot(name: str) -> Markup:
    return tag("circle", cx=5, cy=5, r=5, class_=_colour(name))


def _bar(phase: Phase, start: datetime, total: float) -> Markup:
    scale = WIDTH / total
    return tag(
        "rect",
        tag("title", f"{phase.name} {duration(phase.seconds)}"),
        x=(phase.start - start).total_seconds() * scale,
        y=0,
        width=max(phase.seconds * scale, LEAST),
        height=HEIGHT,
        class_=_colour(phase.name),
    )

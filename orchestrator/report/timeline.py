"""The phases of a job as one bar per attempt, drawn to scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.report.markup import Markup, tag
from orchestrator.report.words import duration

WIDTH = 1040
ROW = 26
LABEL = 86
LABELLED_SHARE = 0.09
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
    parts: list[Markup] = []
    for place, attempt in enumerate(attempts):
        top = place * (ROW + 8)
        parts.append(tag("text", f"attempt {max(attempt, 1)}", x=0, y=top + 17))
        for phase in phases:
            if phase.attempt == attempt:
                parts += _bar(phase, start, total, top)
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH} {len(attempts) * (ROW + 8)}",
        role="img",
        aria_label="phases of the job",
    )


def _bar(phase: Phase, start: datetime, total: float, top: float) -> Iterator[Markup]:
    scale = (WIDTH - LABEL) / total
    x = LABEL + (phase.start - start).total_seconds() * scale
    width = max(phase.seconds * scale, LEAST)
    text = f"{phase.name} {duration(phase.seconds)}"
    yield tag(
        "rect",
        tag("title", text),
        x=x,
        y=top,
        width=width,
        height=ROW,
        rx=3,
        class_=f"f{COLOURS.get(phase.name, 5)}",
    )
    if phase.seconds / total >= LABELLED_SHARE:
        yield tag("text", text, x=x + 6, y=top + 17, style="fill:#fff")

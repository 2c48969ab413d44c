"""Which checkpoint belongs to the best value of a metric: a pure function of names and times.

Programs name and time their checkpoints as they like. What is asked, in this order: a name that
says ``best``; a name with the number of the best value's step (or epoch); the last one that was
complete when the next value arrived, or, where the program saves before it evaluates, when the
best value itself arrived.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.debugger.early_stopping import Value

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Entry:
    """A file or directory among the checkpoints.

    Attributes:
        modified_at: When it, or the newest file in it, was written last; epoch seconds.
    """

    name: str
    modified_at: float


@dataclass(frozen=True)
class Choice:
    """The checkpoint that is taken, and why it is taken for the best."""

    entry: Entry
    why: str


def best_checkpoint(entries: Sequence[Entry], values: Sequence[Value], best: int) -> Choice | None:
    """Return the checkpoint of the best value; None where there is no checkpoint.

    Args:
        entries: What lies among the checkpoints.
        values: All values of the metric, in order of arrival.
        best: Index of the best one.
    """
    if not entries:
        return None
    ordered = sorted(entries, key=lambda entry: (entry.modified_at, entry.name))
    named = [entry for entry in ordered if "best" in entry.name.lower()]
    if named:
        return Choice(named[-1], "its name says so")
    return _by_number(ordered, values, best) or _by_time(ordered, values, best)


def _by_number(ordered: Sequence[Entry], values: Sequence[Value], best: int) -> Choice | None:
    """Take the name that holds the step; where the program says none, nothing is guessed."""
    step = values[best].step
    if step is None:
        return None
    found = [entry for entry in ordered if step in map(int, _NUMBER.findall(entry.name))]
    return Choice(found[-1], f"its name has the number {step}") if len(found) == 1 else None


def _by_time(ordered: Sequence[Entry], values: Sequence[Value], best: int) -> Choice:
    saves_first = ordered[0].modified_at <= values[0].at
    if saves_first:
        until, why = values[best].at, "it was the last one before the best value"
    elif best + 1 < len(values):
        until, why = values[best + 1].at, "it was the last one before the value after the best"
    else:
        return Choice(ordered[-1], "the best value was the last one")
    before = [entry for entry in ordered if entry.modified_at <= until]
    if before:
        return Choice(before[-1], why)
    return Choice(ordered[0], "older ones were overwritten; it is the oldest that is left")

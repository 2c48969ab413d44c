"""Which checkpoint belongs to the best value of a metric: a pure function of names and times.

Programs name and time their checkpoints as they like. What is asked, in this order: a name that
says ``best``; a name with the number of the best value's step (or epoch); the last one that was
complete when the next value arrived, or, where the program saves before it evaluates, when the
best value itself arrived. Files that belong together (``model-3.pt`` and ``optimizer-3.pt``, the
parts of a TensorFlow checkpoint, those that each epoch overwrites) are one checkpoint.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.metrics.run_values import Value

MARGIN_SECONDS = 0.1

_NUMBER = re.compile(r"\d+")
_DESCRIPTIONS = (".json", ".yaml", ".yml", ".toml", ".txt", ".csv", ".log")
_PART = re.compile(r"\d+-of-\d+|rank[_-]?\d+", re.IGNORECASE)
"""What only tells the parts of one checkpoint apart."""


@dataclass(frozen=True)
class Entry:
    """A file or directory among the checkpoints.

    Attributes:
        modified_at: When it, or the newest file in it, was written last; epoch seconds.
    """

    name: str
    modified_at: float

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers that tell this checkpoint from others of its kind."""
        return tuple(map(int, _NUMBER.findall(_PART.sub("", self.name))))

    @property
    def says_best(self) -> bool:
        """Whether the name says that it is the best one; ``best_params.json`` is no checkpoint."""
        name = self.name.lower()
        return "best" in name and not name.endswith(_DESCRIPTIONS)

    @property
    def kind(self) -> str:
        """What checkpoints of one program have in common: all but numbers, or the suffix."""
        return _NUMBER.sub("#", self.name) if self.numbers else self.name.partition(".")[2]


@dataclass(frozen=True)
class Choice:
    """The checkpoint that is taken, and why it is taken for the best."""

    entries: tuple[Entry, ...]
    why: str

    @property
    def names(self) -> tuple[str, ...]:
        """What it consists of."""
        return tuple(entry.name for entry in self.entries)


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
    named = [entry for entry in ordered if entry.says_best]
    if named:
        last = named[-1].numbers
        return Choice(tuple(each for each in named if each.numbers == last), "its name says so")
    return _by_number(ordered, values[best].step) or _by_time(ordered, values, best)


def _by_number(ordered: Sequence[Entry], step: int | None) -> Choice | None:
    """Take the name that holds the step; where the program says none, nothing is guessed."""
    found = [entry for entry in ordered if step in entry.numbers]
    if len({entry.numbers for entry in found}) != 1:
        return None
    return Choice(tuple(found), f"its name has the number {step}")


def _by_time(ordered: Sequence[Entry], values: Sequence[Value], best: int) -> Choice:
    times = _arrivals(values)
    kinds = Counter(entry.kind for entry in ordered)
    newest = {entry.kind: entry.modified_at for entry in ordered}
    # What is written once (settings, a vocabulary) is no checkpoint among many.
    kind = max(kinds, key=lambda each: (kinds[each], newest[each]))
    alike = [entry for entry in ordered if entry.kind == kind]
    if _saves_first(alike, times):
        until, why = values[best].at, "it was the last one before the best value"
    elif best + 1 < len(values):
        until, why = (
            values[best + 1].at - _margin(values),
            "it was the last one before the value after the best",
        )
    else:
        until, why = float("inf"), "the best value was the last one"
    before = [entry for entry in alike if entry.modified_at <= until]
    if before:
        return Choice(_together(before[-1], ordered, times), why)
    return Choice(
        _together(alike[0], ordered, times), "older ones were overwritten; it is the oldest left"
    )


def _margin(values: Sequence[Value]) -> float:
    """Return how much earlier than a value a file may seem to be that was written after it.

    A value's time is that of its arrival, a file's that of a coarse clock; seconds.
    """
    times = sorted(value.at for value in values)
    gaps = [after - before for before, after in pairwise(times)]
    return min(MARGIN_SECONDS, median(gaps) / 4) if gaps else MARGIN_SECONDS


def _arrivals(values: Sequence[Value]) -> list[float]:
    margin = _margin(values)
    return sorted(value.at - margin for value in values)


def _saves_first(alike: Sequence[Entry], times: Sequence[float]) -> bool:
    """Return whether the program saves before it evaluates.

    The first checkpoint tells; where it is gone, whether most were written nearer to the value
    after them than to the one before.
    """
    first = alike[0].modified_at
    if len(times) == 1 or first <= times[1]:
        return first <= times[0]
    nearer_to_next = 0
    for entry in alike:
        after = bisect_left(times, entry.modified_at)
        if after < len(times):
            middle = (times[after - 1] + times[after]) / 2
            nearer_to_next += 1 if entry.modified_at > middle else -1
    return nearer_to_next > 0


def _together(entry: Entry, ordered: Sequence[Entry], times: Sequence[float]) -> tuple[Entry, ...]:
    """Return what makes up one checkpoint: the same numbers; without any, the same time."""

    def belongs(other: Entry) -> bool:
        if entry.numbers or other.numbers:
            return entry.numbers == other.numbers
        return bisect_left(times, other.modified_at) == bisect_left(times, entry.modified_at)

    return tuple(other for other in ordered if belongs(other))

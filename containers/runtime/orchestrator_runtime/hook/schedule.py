"""Which statistics are due at which steps; pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Interval(NamedTuple):
    """Steps at which something is recorded, as in SageMaker Debugger's SaveConfig.

    Attributes:
        every: Each so many steps, counted from step 0.
        start: Not before this step.
        end: Not from this step on; None for ever.
        steps: These steps as well.
        others: And those of these intervals: several have asked for the same.
    """

    every: int
    start: int = 0
    end: int | None = None
    steps: tuple[int, ...] = ()
    others: tuple[Interval, ...] = ()

    def holds(self, step: int) -> bool:
        """Return whether a step is one of them."""
        if step in self.steps or any(other.holds(step) for other in self.others):
            return True
        if self.every < 1 or step % self.every or step < self.start:
            return False
        return self.end is None or step < self.end

    def joined(self, other: Interval) -> Interval:
        """Return the steps of both; the other one has no others."""
        if self._covers(other):
            return self
        return self._replace(others=(*self.others, other))

    def _covers(self, other: Interval) -> bool:
        """Return whether the steps of another one are surely among these."""
        if not all(map(self.holds, other.steps)):
            return False
        if other.every < 1:
            return True
        if self.every < 1 or other.every % self.every or other.start < self.start:
            return False
        return self.end is None or (other.end is not None and other.end <= self.end)


DEFAULT_INTERVALS: dict[str, Interval] = {
    "gradients/l2": Interval(1),
    "weights/l2": Interval(10),
    "weights/update_ratio": Interval(10),
    "gradients/abs_max": Interval(50),
    "gradients/zeros": Interval(50),
    "outputs/zeros": Interval(50),
    "outputs/idle_units": Interval(50),
    "outputs/saturated": Interval(50),
    "outputs/abs_max": Interval(50),
    # The search goes through all of Python's memory. Twice is enough, and a rule wants to be sure.
    "strays/l2": Interval(0, steps=(10, 40)),
}


_LONGEST_CYCLE = 1000


class Schedule:
    """The series of a run and their intervals."""

    def __init__(self, intervals: Mapping[str, Interval]) -> None:
        self._by_interval: dict[Interval, frozenset[str]] = {}
        for series, interval in intervals.items():
            known = self._by_interval.get(interval, frozenset())
            self._by_interval[interval] = known | {series}
        self._known: dict[tuple[Interval, ...], tuple[str, ...]] = {}
        # It is asked at every step: for what repeats soon the answers are made beforehand.
        self._rare = [each for each in self._by_interval if not _is_frequent(each)]
        frequent = [each for each in self._by_interval if _is_frequent(each)]
        length = math.lcm(*(each.every for each in frequent))
        self._cycle = [
            self._of(tuple(each for each in frequent if each.holds(step)))
            for step in range(length if length <= _LONGEST_CYCLE else 0)
        ]

    def due(self, step: int) -> tuple[str, ...]:
        """Return the series that are due at a step, in an order that all processes share.

        Equal answers are one and the same tuple.
        """
        if self._cycle and not any(each.holds(step) for each in self._rare):
            return self._cycle[step % len(self._cycle)]
        return self._due(step)

    def _due(self, step: int) -> tuple[str, ...]:
        return self._of(tuple(each for each in self._by_interval if each.holds(step)))

    def _of(self, holding: tuple[Interval, ...]) -> tuple[str, ...]:
        due = self._known.get(holding)
        if due is None:
            due = tuple(sorted(set().union(*(self._by_interval[each] for each in holding))))
            self._known[holding] = due
        return due

    @property
    def groups(self) -> Mapping[Interval, frozenset[str]]:
        """The series by their interval, for an adapter that must know before the step comes."""
        return self._by_interval

    def names(self) -> list[str]:
        """Return all series."""
        return sorted(set().union(*self._by_interval.values()))

    def has(self, prefix: str) -> bool:
        """Return whether any series begins like this."""
        return any(
            series.startswith(prefix) for group in self._by_interval.values() for series in group
        )


def _is_frequent(interval: Interval) -> bool:
    """Return whether an interval holds each so many steps, soon and for ever."""
    return interval == Interval(interval.every) and 0 < interval.every <= _LONGEST_CYCLE


def intervals_of(
    given: Mapping[str, Any],
    needs: Iterable[tuple[str, int]],
    collected: Iterable[tuple[str, Mapping[str, Any]]] = (),
) -> dict[str, Interval]:
    """Return the intervals of a run: defaults, what rules need, and what the user gave, which wins.

    Args:
        given: By series; a number of steps, 0 to leave it out, or the members of an Interval.
        needs: Pairs of series and steps.
        collected: Series of the user's collections and members of an Interval; these steps are
            recorded as well, but where ``given`` says otherwise.
    """
    intervals = dict(DEFAULT_INTERVALS)
    for series, every in needs:
        known = intervals.get(series)
        if known is None or every < known.every:
            intervals[series] = Interval(every)
    for series, wish in collected:
        wanted, present = _interval(wish), intervals.get(series)
        intervals[series] = wanted if present is None else present.joined(wanted)
    for series, wish in given.items():
        intervals[series] = _interval(wish)
    return {series: interval for series, interval in intervals.items() if interval != Interval(0)}


def _interval(wish: Any) -> Interval:
    if isinstance(wish, int):
        return Interval(wish)
    return Interval(
        int(wish.get("every", 0)),
        int(wish.get("start", 0)),
        None if wish.get("end") is None else int(wish["end"]),
        tuple(int(step) for step in wish.get("steps", ())),
    )

"""Many values in few places, with what stands out kept; pure.

A picture of 20,000 steps has some hundred columns. Averages would hide the one step that matters,
so a column shows a value that was there: of each bin the smallest and the largest are kept.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

Value = float | None
"""A magnitude; 0.0 is exactly zero, inf stands for all that is not finite, None for no value."""

_USUAL = 0.95


class Span(NamedTuple):
    """The steps that a picture covers, the last excluded; at least one."""

    low: int
    high: int


class Bins(NamedTuple):
    """How samples are put into columns.

    Attributes:
        slices: For each bin the first of its samples and the one after its last; empty where
            there is none.
        pairs: Whether bins hold several samples, and so need two columns each.
    """

    slices: list[tuple[int, int]]
    pairs: bool

    @property
    def columns(self) -> int:
        """How many columns they need."""
        return len(self.slices) * (2 if self.pairs else 1)


def span_of(steps: Sequence[int]) -> Span:
    """Return the steps from the smallest to the largest of some."""
    return Span(min(steps), max(steps) + 1)


def bins_of(steps: Sequence[int], span: Span, most: int, *, pairs: bool = False) -> Bins:
    """Return bins of equal width in steps.

    A bin without a sample shows the one before, as long as such samples usually last: a series
    that is recorded every ten steps has no gaps, one that was not recorded for a while has.

    Args:
        steps: Of the samples, in ascending order.
        span: What the bins cover; all steps are in it.
        most: Of columns, at least 2.
        pairs: Whether a bin needs two columns whatever it holds.
    """
    narrowest = min(_intervals(steps), default=span.high - span.low)
    single = -((span.low - span.high) // narrowest)  # so many that each holds one sample at most
    if not pairs and single <= most:
        slices = _cut(steps, span, single)
        if all(end - begin <= 1 for begin, end in slices):
            return Bins(slices, pairs=False)
    return Bins(_cut(steps, span, max(1, min(len(steps), most // 2))), pairs=True)


def _cut(steps: Sequence[int], span: Span, count: int) -> list[tuple[int, int]]:
    width = span.high - span.low
    # Whole numbers: a sample at a border must not fall to either side by rounding.
    borders = [span.low - (-(width * place) // count) for place in range(count + 1)]
    cuts = [bisect_left(steps, border) for border in borders]
    lasts = _usual_interval(steps)
    slices = []
    for place, (begin, end) in enumerate(pairwise(cuts)):
        is_held = begin == end and begin > 0 and borders[place] < steps[begin - 1] + lasts
        slices.append((begin - 1, begin) if is_held else (begin, end))
    return slices


def _usual_interval(steps: Sequence[int]) -> int:
    intervals = sorted(_intervals(steps))
    return intervals[int((len(intervals) - 1) * _USUAL)] if intervals else 1


def _intervals(steps: Sequence[int]) -> list[int]:
    return [later - step for step, later in pairwise(steps) if later > step]


def extremes(values: Sequence[float | None]) -> tuple[Value, Value]:
    """Return the smallest and the largest magnitude, in the order in which they came.

    What is not finite counts as larger than all else, and comes out as inf.
    """
    try:
        known: Sequence[float] = values  # type: ignore[assignment]  # gaps are the exception below
        total = sum(known)
    except TypeError:
        known = [value for value in values if value is not None]
        total = sum(known)
    if not known:
        return None, None
    if not math.isfinite(total):  # one that is not finite makes their sum so
        known = [value if math.isfinite(value) else math.inf for value in known]
    low, high = min(known), max(known)
    if low < 0:
        known = [abs(value) for value in known]
        low, high = min(known), max(known)
    return (low, high) if known.index(low) <= known.index(high) else (high, low)

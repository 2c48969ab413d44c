"""What comes of searches: ranks, tests and numbers of trials. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

ALPHA = 0.05
"""Chance of a difference that is none, over all rows of a table together."""

Verdict = Literal["better", "worse", "alike"]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles.

    Attributes:
        low: A quarter is below.
        median: Half is below.
        high: A quarter is above.
    """

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles of at least two values."""
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def regret(losses: Sequence[float], jobs: int, optimum: float) -> float:
    """Return how far the best of the first results is from the optimum."""
    return max(min(losses[:jobs]) - optimum, 0.0)


def mean_ranks(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean place of each name, 1 for the smallest value; equal ones share places."""
    from scipy.stats import rankdata

    places: dict[str, list[float]] = {}
    for row in rows:
        for name, place in zip(row, rankdata(list(row.values())), strict=True):
            places.setdefault(name, []).append(float(place))
    return {name: statistics.fmean(found) for name, found in places.items()}


def chance_of(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return how likely such paired differences are by chance (Wilcoxon's signed-rank test)."""
    from scipy.stats import wilcoxon

    if all(mine == other for mine, other in zip(ours, theirs, strict=True)):
        return 1.0
    return float(wilcoxon(ours, theirs).pvalue)


def corrected(chances: Sequence[float]) -> list[float]:
    """Return chances for as many tests as there are (Holm 1979, step-down)."""
    count = len(chances)
    found = [0.0] * count
    highest = 0.0
    for place, index in enumerate(sorted(range(count), key=chances.__getitem__)):
        highest = max(highest, min(1.0, chances[index] * (count - place)))
        found[index] = highest
    return found


def verdict(ours: Sequence[float], theirs: Sequence[float], chance: float) -> Verdict:
    """Return whether the paired values are smaller, beyond noise.

    Args:
        ours: Of each seed.
        theirs: Of the same seeds.
        chance: What the test says, corrected.
    """
    if chance >= ALPHA:
        return "alike"
    signs = [math.copysign(1, mine - other) for mine, other in zip(ours, theirs, strict=True)]
    return "better" if sum(signs) < 0 else "worse"


def jobs_until(losses: Sequence[float], value: float) -> float:
    """Return how many results it took to reach a value; infinite if it was not reached."""
    for place, loss in enumerate(losses, start=1):
        if loss <= value:
            return place
    return math.inf

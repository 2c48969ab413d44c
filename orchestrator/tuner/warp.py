"""Losses as a model is told them: their order stays, what says little is made small. Pure.

A model of losses of which one is a thousand times as large as the others sees only that one.
Song et al., "The Vizier Gaussian Process Bandit Algorithm" (arXiv 2408.11527), section 3.3.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

STRETCH = 1.5
"""How much wider the differences of the best losses are told than those of the worst."""


def warped(losses: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Return losses as a model is told them, each objective by itself.

    Args:
        losses: Of each result, one for each objective.
    """
    columns = [_stretched(half_ranked(column)) for column in zip(*losses, strict=True)]
    return list(zip(*columns, strict=True))


def half_ranked(values: Sequence[float]) -> list[float]:
    """Return values of which those above the median are spread as a normal distribution is.

    How much worse the bad ones are says little of where the good ones lie. The spread is that of
    the better half.
    """
    if not values:
        return []
    middle = statistics.median(values)
    good = [value for value in values if value <= middle]
    spread = math.sqrt(statistics.fmean((value - middle) ** 2 for value in good))
    if not spread or not math.isfinite(spread):
        return list(values)
    normal = statistics.NormalDist(middle, spread)
    ordered = sorted(values)
    told = {
        value: normal.inv_cdf((ordered.index(value) + ordered.count(value) / 2) / len(ordered))
        for value in set(values)
        if value > middle
    }
    return [told.get(value, value) for value in values]


def _stretched(values: Sequence[float]) -> list[float]:
    """Return values from 0 to 1, nearly as they are, but the smallest ones further apart."""
    if not values:
        return []
    low, high = min(values), max(values)
    if low == high or not math.isfinite(high - low):
        return list(values)
    return [
        math.log1p((value - low) / (high - low) * (STRETCH - 1)) / math.log(STRETCH)
        for value in values
    ]

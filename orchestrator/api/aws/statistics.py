"""Statistics of a period as CloudWatch gives them. Pure."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from typing import NamedTuple

from orchestrator.errors import InvalidSpec
from orchestrator.metrics.periods import Sums, Values

STATISTICS: dict[str, Callable[[Sums], float]] = {
    "SampleCount": lambda sums: sums.samples,
    "Average": lambda sums: sums.total / sums.samples,
    "Sum": lambda sums: sums.total,
    "Minimum": lambda sums: sums.minimum,
    "Maximum": lambda sums: sums.maximum,
}
"""Those that the sums of a period suffice for."""
_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,10})?|100)")


class Statistic(NamedTuple):
    """The value of one statistic in one period."""

    begin_us: int
    unit: str | None
    value: float


def percentile(name: str) -> float | None:
    """Return the share that a statistic's name asks for (``p99``); None where sums suffice.

    Raises:
        InvalidSpec: It is no statistic that is served.
    """
    if name in STATISTICS:
        return None
    found = _PERCENTILE.fullmatch(name)
    if found is None:
        raise InvalidSpec(
            f"a statistic must be one of {', '.join(STATISTICS)} or a percentile such as p99, got "
            f"{name!r}"
        )
    return float(found[1]) / 100


def statistics(
    names: Collection[str],
    sums: Callable[[], Sequence[Sums]],
    values: Callable[[], Sequence[Values]],
) -> dict[str, list[Statistic]]:
    """Return each statistic in every period; sums and values are read once, where needed.

    Args:
        names: Of statistics.
        sums: Reads the sums of each period.
        values: Reads the values of each period.

    Raises:
        InvalidSpec: One is no statistic that is served.
    """
    shares = {name: percentile(name) for name in names}
    plain = sums() if None in shares.values() else ()
    full = values() if any(share is not None for share in shares.values()) else ()
    return {
        name: [Statistic(each.begin_us, each.unit, STATISTICS[name](each)) for each in plain]
        if share is None
        else [Statistic(each.begin_us, each.unit, quantile(each, share)) for each in full]
        for name, share in shares.items()
    }


def quantile(period: Values, share: float) -> float:
    """Return the value below which a share of the values lies, interpolated linearly.

    A value with a count stands for so many equal ones in a row.
    """
    ends = list(accumulate(period.counts))
    place = max(0.0, share * (ends[-1] - 1))
    low = math.floor(place)
    below, above = (
        period.values[min(bisect_right(ends, at), len(ends) - 1)] for at in (low, low + 1)
    )
    return below + (above - below) * (place - low)

"""Points of a metric as CloudWatch gives them: one value per period and statistic. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from orchestrator.errors import InvalidSpec
from orchestrator.metrics.points import MetricPoint

STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "SampleCount": lambda values: float(len(values)),
    "Average": lambda values: math.fsum(values) / len(values),
    "Sum": math.fsum,
    "Minimum": min,
    "Maximum": max,
}
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100)")


def periods(
    points: Iterable[MetricPoint], period_seconds: int
) -> Iterator[tuple[int, list[float]]]:
    """Yield the begin of each period that has values, in seconds since the epoch, and these.

    Values that are no number are left out: they would take the rest of the period with them.

    Args:
        points: In order of time.
        period_seconds: Length of a period; periods begin at multiples of it.
    """
    length = period_seconds * 1_000_000
    for place, group in groupby(points, lambda point: point.time_us // length):
        values = [point.value for point in group if math.isfinite(point.value)]
        if values:
            yield place * period_seconds, values


def statistic(name: str) -> Callable[[Sequence[float]], float]:
    """Return the function of a statistic, by its name (``Average``, ``p99``).

    Raises:
        InvalidSpec: It is none of those that are served.
    """
    known = STATISTICS.get(name)
    if known is not None:
        return known
    found = _PERCENTILE.fullmatch(name)
    if found is None:
        raise InvalidSpec(
            f"a statistic must be one of {', '.join(STATISTICS)} or a percentile such as p99, got "
            f"{name!r}"
        )
    share = float(found[1]) / 100
    return lambda values: _quantile(sorted(values), share)


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of sorted values lies, interpolated linearly."""
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)

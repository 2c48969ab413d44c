"""Thinning out a curve so that nothing that matters to the eye is lost; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

MIN_POINTS = 10


def downsample(values: Sequence[float], max_points: int) -> list[int]:
    """Return the indices to keep, in order, at most ``max_points``.

    The curve is cut into equal buckets. Kept are the first and the last point and, of each
    bucket, the lowest and the highest finite value and the first of each kind that is not finite
    (NaN, +inf, -inf): a spike, or the step at which a loss became NaN, is never smoothed away.

    Args:
        values: The values in order.
        max_points: At least 10.
    """
    count = len(values)
    if count <= max_points:
        return list(range(count))
    odd = {_kind(value) for value in values if not math.isfinite(value)}
    buckets = (max_points - 2) // (2 + len(odd))
    keep = {0, count - 1}
    for bucket in range(buckets):
        first, end = bucket * count // buckets, (bucket + 1) * count // buckets
        keep.update(_of_bucket(values, range(first, end), has_odd=bool(odd)))
    return sorted(keep)


def _of_bucket(values: Sequence[float], indices: Sequence[int], *, has_odd: bool) -> set[int]:
    keep: set[int] = set()
    if has_odd:
        first = {_kind(values[i]): i for i in reversed(indices) if not math.isfinite(values[i])}
        keep.update(first.values())
        indices = [i for i in indices if math.isfinite(values[i])]
    if indices:
        keep.add(min(indices, key=values.__getitem__))
        keep.add(max(indices, key=values.__getitem__))
    return keep


def _kind(value: float) -> str:
    return "nan" if math.isnan(value) else "+inf" if value > 0 else "-inf"

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.metrics.downsample import MIN_POINTS, downsample

values = st.lists(
    st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 0.0]), max_size=300
)


@given(values=values, max_points=st.integers(MIN_POINTS, 60))
def test_kept_are_at_most_so_many_points_in_order(values, max_points):
    kept = downsample(values, max_points)
    assert len(kept) <= max(max_points, 0)
    assert kept == sorted(set(kept))
    assert all(0 <= index < len(values) for index in kept)


@given(values=values, max_points=st.integers(MIN_POINTS, 60))
def test_first_last_and_extremes_are_kept(values, max_points):
    kept = downsample(values, max_points)
    if not values:
        assert kept == []
        return
    assert (kept[0], kept[-1]) == (0, len(values) - 1)
    finite = [value for value in values if math.isfinite(value)]
    kept_finite = [values[index] for index in kept if math.isfinite(values[index])]
    if finite:
        assert min(kept_finite) == min(finite)
        assert max(kept_finite) == max(finite)


@given(values=values, max_points=st.integers(MIN_POINTS, 60))
def test_the_first_value_of_each_kind_that_is_not_finite_is_kept(values, max_points):
    kept = set(downsample(values, max_points))
    for is_odd in (math.isnan, math.inf.__eq__, (-math.inf).__eq__):
        first = next((i for i, value in enumerate(values) if is_odd(value) is True), None)
        assert first is None or first in kept


@given(values=st.lists(st.floats(), max_size=MIN_POINTS))
def test_a_short_curve_is_kept_whole(values):
    assert downsample(values, MIN_POINTS) == list(range(len(values)))


def test_the_ends_are_kept_also_when_nothing_is_special_about_them():
    values = [float(i % 7) for i in range(1000)]
    values[0] = values[-1] = 3.5
    assert downsample(values, 20)[0] == 0
    assert downsample(values, 20)[-1] == 999


def test_every_spike_of_a_long_curve_is_kept():
    values = [1.0] * 100_000
    spikes = range(500, 100_000, 1000)
    for index in spikes:
        values[index] = 9.0 if index % 2000 else -9.0
    kept = set(downsample(values, 2000))
    assert set(spikes) <= kept
    assert len(kept) <= 2000

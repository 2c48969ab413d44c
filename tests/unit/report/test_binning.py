"""Bins that lose no extreme."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.binning import Span, bins_of, extremes, span_of

ANY = st.one_of(st.none(), st.floats(width=32), st.just(0.0))
STEPS = st.lists(st.integers(0, 5000), min_size=1, max_size=300).map(sorted)


def magnitude(value: float) -> float:
    return abs(value) if math.isfinite(value) else math.inf


@given(st.lists(ANY, max_size=60))
def test_the_smallest_and_the_largest_magnitude_come_out_in_their_order(values):
    known = [magnitude(value) for value in values if value is not None]
    first, second = extremes(values)
    if not known:
        assert (first, second) == (None, None)
        return
    assert {first, second} == {min(known), max(known)}
    assert first is not None
    assert second is not None
    assert known.index(first) <= known.index(second)


@given(STEPS, st.integers(2, 700), st.booleans())
def test_bins_hold_every_sample_and_are_not_too_many(steps, most, pairs):
    bins = bins_of(steps, span_of(steps), most, pairs=pairs)
    assert bins.columns <= most
    held = {place for begin, end in bins.slices for place in range(begin, end)}
    assert held == set(range(len(steps)))
    assert bins.pairs or all(end - begin <= 1 for begin, end in bins.slices)


@given(STEPS, st.integers(2, 100), st.data())
def test_binning_preserves_extremes(steps, most, data):
    values = data.draw(st.lists(ANY, min_size=len(steps), max_size=len(steps)))
    bins = bins_of(steps, span_of(steps), most)
    shown = [cell for a, b in bins.slices for cell in extremes(values[a:b]) if cell is not None]
    known = [magnitude(value) for value in values if value is not None]
    assert bool(shown) == bool(known)
    if known:
        assert min(shown) == min(known)
        assert max(shown) == max(known)


@pytest.mark.parametrize("every", [1, 3, 10])
@pytest.mark.parametrize("more", [0, 1, 2, 9])
def test_a_regular_series_has_a_column_for_each_sample_and_no_gap(every, more):
    steps = list(range(0, 50 * every, every))
    span = Span(0, steps[-1] + 1 + more % every)
    bins = bins_of(steps, span, 600)
    assert bins.slices == [(n, n + 1) for n in range(50)]


def test_a_while_without_samples_is_a_gap():
    steps = [n for n in range(100) if not 40 <= n < 60]
    bins = bins_of(steps, Span(0, 100), 50)
    empty = [place for place, (begin, end) in enumerate(bins.slices) if begin == end]
    assert bins.pairs
    assert empty == [10, 11, 12, 13, 14]  # of 25, each 4 steps wide


def test_one_sample_fills_the_columns_it_has():
    bins = bins_of([7], Span(7, 8), 600)
    assert (bins.slices, bins.pairs) == ([(0, 1)], False)

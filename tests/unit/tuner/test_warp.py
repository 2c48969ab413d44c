"""Losses as a model is told them: order stays, far ones come near, near the best they are apart."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tuner.warp import half_ranked, warped

LOSSES = st.lists(st.floats(-1e12, 1e12).map(lambda value: round(value, 6)), max_size=30)


def told(values):
    return [each[0] for each in warped([(value,) for value in values])]


@given(LOSSES)
def test_the_order_stays(values):
    found = told(values)
    assert len(found) == len(values)
    for (mine, other), (new, newer) in zip(
        itertools.combinations(values, 2), itertools.combinations(found, 2), strict=True
    ):
        if mine == other:
            assert new == newer
        elif mine < other:
            assert new <= newer


@given(st.lists(st.integers(0, 20), min_size=8, max_size=30, unique=True))
def test_how_bad_the_worst_is_changes_nothing(values):
    worst = max(values)
    worse = [value * 10**9 if value == worst else value for value in values]
    assert told(worse) == pytest.approx(told(values))


def test_the_better_half_stays_as_it_is():
    assert half_ranked([1.0, 2.0, 3.0, 50.0, 700.0])[:3] == [1.0, 2.0, 3.0]


def test_the_worse_half_is_as_wide_as_the_better_one():
    values = [float(value) for value in range(101)]
    values[51:] = [10.0**place for place in range(4, 54)]
    found = half_ranked(values)
    good = math.sqrt(statistics.fmean((value - 50) ** 2 for value in found[:51]))
    bad = math.sqrt(statistics.fmean((value - 50) ** 2 for value in found[51:]))
    assert bad == pytest.approx(good, rel=0.1)


def test_differences_of_the_best_are_told_larger():
    found = told([float(value) for value in range(11)])
    assert (found[0], found[-1]) == (0.0, 1.0)
    assert found[1] - found[0] > 1.1 * (found[5] - found[4])


@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0, 2.0]])
def test_without_a_difference_nothing_is_told_otherwise(values):
    assert told(values) == values


def test_each_objective_by_itself():
    found = warped([(1.0, 30.0), (2.0, 20.0), (3.0, 10.0)])
    assert [each[0] for each in found] == [each[1] for each in reversed(found)]

"""The rules by which training jobs of a tuning job are ended early."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tuner.early_stop import Rung, is_below_median, levels, next_rungs, to_promote

LOSSES = st.floats(-1e6, 1e6)
CURVES = st.lists(LOSSES, min_size=1, max_size=6)


class TestTheMedianRule:
    def test_the_newest_value_counts_and_of_the_others_their_running_means(self):
        # Means of two epochs: 3.5, 2.5 and 1.5; the last values alone are 3, 2 and 1.
        others = [[4.0, 3.0], [3.0, 2.0], [2.0, 1.0]]
        assert not is_below_median([9.0, 2.5], others)
        assert is_below_median([1.0, 2.51], others)

    def test_who_did_not_get_so_far_does_not_count(self):
        assert not is_below_median([5.0, 5.0], [[0.0]])
        assert is_below_median([5.0], [[0.0]])

    def test_nobody_is_compared_with_nobody(self):
        assert not is_below_median([5.0], [])
        assert not is_below_median([], [[1.0]])

    def test_nan_is_worse_than_any_number_but_not_than_nan(self):
        assert is_below_median([math.nan], [[1e9]])
        assert not is_below_median([1e9], [[math.nan]])
        assert not is_below_median([math.nan], [[math.nan]])

    @given(curve=CURVES, others=st.lists(CURVES, max_size=6))
    def test_it_is_the_rule_of_the_developer_guide(self, curve, others):
        far = [other for other in others if len(other) >= len(curve)]
        means = [sum(other[: len(curve)]) / len(curve) for other in far]
        if means and abs(curve[-1] - statistics.median(means)) < 1e-6:
            return  # a tie but for rounding
        assert is_below_median(curve, others) == bool(
            means and curve[-1] > statistics.median(means)
        )


class TestSuccessiveHalving:
    @pytest.mark.parametrize(
        ("least", "most", "factor", "found"),
        [
            (1, 27, 3, (1, 3, 9)),
            (1, 28, 3, (1, 3, 9, 27)),
            (4, 4, 2, ()),
            (2, 17, 2, (2, 4, 8, 16)),
        ],
    )
    def test_levels_end_below_a_whole_training(self, least, most, factor, found):
        assert levels(least, most, factor) == found

    def test_one_of_three_goes_on(self):
        at = (1, 3)
        assert next_rungs([2.0], (), {1: [1.0, 3.0]}, at, 3) == (Rung(1, 2.0, goes_on=False),)
        assert next_rungs([0.5], (), {1: [1.0, 3.0]}, at, 3) == (Rung(1, 0.5, goes_on=True),)
        others = {1: [1.0, 3.0, 4.0, 5.0, 6.0]}  # with this one six: two go on
        assert next_rungs([2.0], (), others, at, 3) == (Rung(1, 2.0, goes_on=True),)

    def test_the_first_ones_go_on_while_they_are_the_best(self):
        assert next_rungs([2.0], (), {}, (1,), 3)[0].goes_on
        assert next_rungs([2.0], (), {1: [2.0]}, (1,), 3)[0].goes_on, "as good is not worse"
        assert not next_rungs([2.1], (), {1: [2.0]}, (1,), 3)[0].goes_on

    def test_what_is_decided_stays_decided(self):
        passed = (Rung(1, 2.0, goes_on=True),)
        assert next_rungs([2.0, 1.0], passed, {1: [0.0] * 9}, (1, 3), 3) == ()
        ended = (Rung(1, 2.0, goes_on=False),)
        assert next_rungs([2.0, 1.0, 0.0], ended, {}, (1, 3), 3) == ()

    def test_several_levels_that_were_passed_at_once_are_decided_in_order(self):
        found = next_rungs([3.0, 2.0, 1.0], (), {1: [], 3: [0.5]}, (1, 3), 3)
        assert found == (Rung(1, 3.0, goes_on=True), Rung(3, 1.0, goes_on=False))

    def test_nan_never_goes_on_and_stands_in_nobodys_way(self):
        assert not next_rungs([math.nan], (), {}, (1,), 3)[0].goes_on
        assert next_rungs([9.0], (), {1: [math.nan, math.nan]}, (1,), 3)[0].goes_on

    @given(losses=st.lists(LOSSES, min_size=1, max_size=40, unique=True), factor=st.integers(2, 4))
    def test_about_one_of_so_many_goes_on_in_any_order(self, losses, factor):
        seen: list[float] = []
        for loss in losses:
            (rung,) = next_rungs([loss], (), {1: seen}, (1,), factor)
            ranked = sorted([*seen, loss])
            assert rung.goes_on == (ranked.index(loss) < max(1, len(ranked) // factor))
            seen.append(loss)


class TestPromotion:
    def test_the_highest_rung_first_and_its_best_first(self):
        paused = {
            "a": Rung(1, 1.0, goes_on=False),
            "b": Rung(3, 2.0, goes_on=False),
            "c": Rung(3, 1.5, goes_on=False),
        }
        there = {1: [1.0, 2.0, 3.0], 3: [2.0, 1.5, 4.0]}
        assert to_promote(paused, there, 3) == "c"
        assert to_promote({"a": paused["a"], "b": paused["b"]}, there, 3) == "a"

    def test_who_went_on_already_takes_a_place(self):
        there = {1: [1.0, 2.0, 3.0]}  # one place, and it was taken by who had 1.0
        assert to_promote({"b": Rung(1, 2.0, goes_on=False)}, there, 3) is None

    def test_too_few_have_no_place(self):
        assert to_promote({"a": Rung(1, 1.0, goes_on=False)}, {1: [1.0, 2.0]}, 3) is None

    def test_of_equals_those_that_went_already_have_their_places(self):
        there = {1: [1.0] * 6}  # two places
        paused = {name: Rung(1, 1.0, goes_on=False) for name in "abcdef"}
        assert to_promote(paused, there, 3) == "a"
        del paused["a"]
        assert to_promote(paused, there, 3) == "b"
        del paused["b"]
        assert to_promote(paused, there, 3) is None

    def test_who_comes_later_and_is_better_goes_on_all_the_same(self):
        there = {1: [1.0, 2.0, 3.0, 0.5]}
        assert to_promote({"d": Rung(1, 0.5, goes_on=False)}, there, 3) == "d"

    def test_nan_is_never_promoted(self):
        there = {1: [math.nan, math.nan, math.nan]}
        paused = {name: Rung(1, math.nan, goes_on=False) for name in "abc"}
        assert to_promote(paused, there, 3) is None

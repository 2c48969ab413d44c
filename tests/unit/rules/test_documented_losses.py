from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.rules import Engine, judge_of
from orchestrator_runtime.rules.documented.losses import is_validation_loss

from tests.unit.rules.steps import findings, fired_at, step

some = st.sampled_from([1000.0, 999.0, 1050.0, 900.0, 1.0, 1.01, 1.25]) | st.floats(0.01, 100)
losses = st.lists(some, max_size=40) | st.lists(some, min_size=20, max_size=40)


def curve(values, every=1):
    return [step(number, loss=value) for number, value in enumerate(values) if number % every == 0]


class TestNotDecreasing:
    def reference(self, values, every, distance):
        """Written off the guide: the latest saved loss that is at least so far behind."""
        saved = {n: value for n, value in enumerate(values) if n % every == 0}
        checked = 0
        for now in saved:
            if now - checked < distance:
                continue
            checked = now
            then = max(n for n in saved if n <= now - distance)
            change = 100 * (saved[now] - saved[then]) / saved[then]
            if change > 5 or -0.1 < change <= 0:
                return now
        return None

    @given(losses, st.integers(1, 4), st.integers(1, 12))
    def test_fires_as_the_guide_says(self, values, every, distance):
        found = fired_at("LossNotDecreasing", curve(values), {"num_steps": distance}, every=every)
        assert found == self.reference(values, every, distance)

    def test_the_guides_example(self):
        """Saved every three steps, compared at 21 with 9 and at 33 with 21: twelve steps apart."""
        values = [1000 - number for number in range(34)]
        for last, other in ((12, 0), (24, 12), (36, 24)):
            shown = [*values[:last], *[1000 - other] * 4]
            (found,) = findings("LossNotDecreasing", curve(shown)[: last + 1], every=3)
            assert (found.step, found.values["before"]) == (last, 1000 - other)

    def test_a_loss_that_is_not_finite_any_more_has_risen(self):
        assert fired_at("LossNotDecreasing", curve([1.0] + [math.inf] * 10), every=1) == 10

    def test_a_small_increase_is_allowed(self):
        assert fired_at("LossNotDecreasing", curve([1.0] * 10 + [1.04]), every=1) is None

    def test_a_decrease_that_is_just_enough(self):
        assert fired_at("LossNotDecreasing", curve([1000.0] * 10 + [999.0]), every=1) is None

    def test_the_latest_loss_that_is_far_enough_behind_counts(self):
        values = [1000.0 - number for number in range(20)] + [990.0]
        values[9] = 2000.0
        (found,) = findings("LossNotDecreasing", curve(values), every=1)
        assert (found.step, found.values["before"]) == (20, values[10])

    def test_other_losses(self):
        steps = [step(n, loss=1.0 / (n + 1), mine=1.0, val__loss=1.0) for n in range(11)]
        assert fired_at("LossNotDecreasing", steps, every=1) is None
        assert fired_at("LossNotDecreasing", steps, {"mode": "EVAL"}, every=500) == 10
        by_name = {"tensor_regex": "mine", "use_losses_collection": "False"}
        assert fired_at("LossNotDecreasing", steps, by_name, every=1) == 10

    def test_without_a_loss_it_is_not_evaluated(self):
        engine = Engine([judge_of("LossNotDecreasing")])
        engine.observe(step(0))
        assert "LossNotDecreasing" in engine.not_evaluated()


class TestOverfit:
    loss = st.sampled_from([1.0, 1.25, 2.0]) | st.floats(0.1, 10)

    @given(
        st.lists(st.tuples(loss, st.none() | loss), max_size=20),
        st.integers(1, 3),
        st.integers(0, 5),
        st.sampled_from([0.1, 0.25, 1.0]),
    )
    def test_fires_as_the_guide_says(self, rows, patience, start, ratio):
        expected, row_count, since, mean = None, 0, [], None
        for number, (training, validation) in enumerate(rows):
            if number < start or expected is not None:
                continue
            since.append(training)
            if validation is None:
                continue
            mean, since = sum(since) / len(since), []
            row_count = row_count + 1 if (validation - mean) / mean > ratio else 0
            if row_count == patience:
                expected = number
        steps = [
            step(n, loss=a, **({} if b is None else {"validation__loss": b}))
            for n, (a, b) in enumerate(rows)
        ]
        parameters = {"patience": patience, "start_step": start, "ratio_threshold": ratio}
        assert fired_at("Overfit", steps, parameters, every=1) == expected

    def test_a_ratio_that_is_just_the_limit(self):
        steps = [step(0, loss=1.0, val_loss=1.25)]
        assert fired_at("Overfit", steps, {"ratio_threshold": 0.25}) is None
        assert fired_at("Overfit", steps, {"ratio_threshold": 0.24}) == 0

    def test_without_a_validation_loss_it_is_not_evaluated(self):
        engine = Engine([judge_of("Overfit")])
        engine.observe(step(0, loss=1.0))
        assert "validation loss" in engine.not_evaluated()["Overfit"]


class TestOvertraining:
    @given(losses, st.integers(1, 6), st.integers(1, 5), st.sampled_from([0.0, 0.01, 1.0]))
    def test_fires_when_the_training_loss_is_at_its_best(self, values, patience, every, delta):
        saved = [(n, value) for n, value in enumerate(values) if n % every == 0]
        best, since, expected = math.inf, 0, None
        for number, value in saved:
            if value < best - delta:
                best, since = value, 0
                continue
            since += 1
            if since == patience:
                expected = number
                break
        parameters = {"patience_train": patience, "delta": delta}
        assert fired_at("Overtraining", curve(values), parameters, every=every) == expected

    def test_validation_losses_have_a_patience_of_their_own(self):
        steps = [step(n, loss=100.0 - n, eval_loss=1.0 + n) for n in range(20)]
        assert fired_at("Overtraining", steps, every=1) == 10


def test_names_of_validation_losses():
    for name in (
        "validation:loss",
        "val_loss",
        "eval_loss",
        "Loss/val",
        "test:loss",
        "valid-loss",
    ):
        assert is_validation_loss(name)
    for name in ("loss", "train:loss", "validation:accuracy", "interval_loss", "latest_loss"):
        assert not is_validation_loss(name)


class TestPoorInitialization:
    def blocks(self, variances=(1.0, 2.0), spreads=(1.0,)):
        return {"inputs/variance": list(variances), "gradients/spread": list(spreads)}

    @given(
        st.lists(st.sampled_from([0.0, 1.0, 10.0]) | st.floats(0, 100), min_size=2, max_size=4),
        st.lists(st.sampled_from([0.0, 0.001]) | st.floats(0, 1), min_size=1, max_size=3),
    )
    def test_variances_and_spreads(self, variances, spreads):
        low, high = min(variances), max(variances)
        uneven = high > 0 and (low == 0 or high / low > 10)
        expected = 0 if uneven or min(spreads) < 0.001 else None
        steps = [step(0, role="relu", blocks=self.blocks(variances, spreads))]
        assert fired_at("PoorWeightInitialization", steps) == expected

    @pytest.mark.parametrize(
        ("variances", "expected"),
        [((1.0, 10.0), None), ((1.0, 10.1), 0), ((0.0, 0.0), None), ((0.0, 1e-9), 0)],
    )
    def test_variances_at_the_limit(self, variances, expected):
        steps = [step(0, role="relu", blocks=self.blocks(variances))]
        assert fired_at("PoorWeightInitialization", steps) == expected

    def test_inputs_that_come_with_the_step_behind_are_judged(self):
        late = [
            step(n, role="relu", blocks=self.blocks((1.0, 99.0)) if n == 21 else {})
            for n in range(22)
        ]
        assert fired_at("PoorWeightInitialization", late, {"steps": 3}, every=10) == 21
        assert fired_at("PoorWeightInitialization", late, {"steps": 2}, every=10) is None

    def test_a_loss_that_stays(self):
        steps = [step(n, role="relu", blocks=self.blocks(), loss=1.0) for n in range(9)]
        assert fired_at("PoorWeightInitialization", steps, every=1) == 5

    def test_only_the_first_saved_steps_are_looked_at(self):
        good = [step(n, role="relu", blocks=self.blocks(), loss=1.0 / (n + 1)) for n in range(20)]
        bad = [step(20, role="relu", blocks=self.blocks(spreads=(0.0,)))]
        assert fired_at("PoorWeightInitialization", good + bad, every=2) is None
        assert fired_at("PoorWeightInitialization", good + bad, {"steps": 11}, every=2) == 20


class TestStalled:
    def test_a_wait_is_found_live(self):
        engine = Engine([judge_of("StalledTrainingRule", {"threshold": 10})])
        last = step(3, time=100.0)
        assert engine.observe(last) == []
        assert engine.waited(last, 109.9) == []
        ((_, found),) = engine.waited(last, 110.0)
        assert (found.step, found.values) == (3, {"seconds": 10.0})

    def test_and_before_the_first_step(self):
        engine = Engine([judge_of("StalledTrainingRule", {"threshold": 10})])
        assert engine.waited(None, 5.0) == []
        assert len(engine.waited(None, 15.0)) == 1

    @given(st.lists(st.floats(0, 50), max_size=10))
    def test_and_in_a_trace_by_the_gap(self, gaps):
        times = [1000 + sum(gaps[:count]) for count in range(len(gaps) + 1)]
        expected = next(
            (at + 1 for at in range(len(gaps)) if times[at + 1] - times[at] >= 10), None
        )
        steps = [step(number, time=time) for number, time in enumerate(times)]
        assert fired_at("StalledTrainingRule", steps, {"threshold": 10}) == expected

    def test_it_may_ask_for_the_end_itself(self):
        assert judge_of("StalledTrainingRule", {"stop_training_on_fire": "True"}).stop
        assert not judge_of("StalledTrainingRule").stop

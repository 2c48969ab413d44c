from __future__ import annotations

import math
from itertools import pairwise

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.rules import Engine, judge_of
from orchestrator_runtime.rules.documented.tensors import Selection

from tests.unit.rules.steps import findings, fired_at, step

shares = st.floats(0, 1)
limits = st.sampled_from([0.0, 1e-8, 1e-7, 0.5, 10.0])
values = st.one_of(st.none(), limits, st.floats(width=32))
rows = st.lists(st.lists(values, min_size=1, max_size=4), min_size=1, max_size=12)


def run(series, table, **options):
    return [step(number, blocks={series: row}, **options) for number, row in enumerate(table)]


def first(rows, every, wrong):
    """The first saved step with a value that is wrong."""
    for number, row in enumerate(rows):
        if number % every == 0 and any(value is not None and wrong(value) for value in row):
            return number
    return None


class TestOneStatistic:
    @given(rows, st.integers(1, 4), st.sampled_from([0.0, 1e-7, 0.5]))
    def test_vanishing_gradient(self, table, every, threshold):
        steps = run("gradients/abs_mean", table)
        expected = first(table, every, lambda value: value < threshold)
        assert (
            fired_at("VanishingGradient", steps, {"threshold": threshold}, every=every) == expected
        )

    @given(rows, st.integers(1, 4), st.booleans())
    def test_exploding_tensor(self, table, every, only_nan):
        steps = run("weights/nan" if only_nan else "weights/non_finite", table)
        expected = first(table, every, lambda value: value > 0)
        parameters = {"only_nan": str(only_nan)}
        assert fired_at("ExplodingTensor", steps, parameters, every=every) == expected

    @given(st.lists(st.lists(shares, min_size=1), min_size=1, max_size=8), st.floats(0, 100))
    def test_all_zero(self, table, threshold):
        steps = run("gradients/zeros", table)
        expected = first(table, 1, lambda value: value * 100 >= threshold)
        parameters = {"threshold": threshold, "collection_names": "gradients"}
        assert fired_at("AllZero", steps, parameters, every=1) == expected

    @given(rows, st.none() | limits, st.none() | limits)
    def test_tensor_variance(self, table, low, high):
        def wrong(value):
            return (low is not None and value < low) or (high is not None and value > high)

        steps = run("weights/variance", table)
        parameters = {"min_threshold": low, "max_threshold": high}
        assert fired_at("TensorVariance", steps, parameters, every=1) == first(table, 1, wrong)

    @given(st.lists(st.lists(shares, min_size=1), min_size=1, max_size=8), st.floats(0, 100))
    def test_dead_relu(self, table, layer):
        steps = run("outputs/inactive:1.0", table, role="relu")
        expected = first(table, 1, lambda value: 100 * value > layer)
        assert fired_at("DeadRelu", steps, {"threshold_layer": layer}, every=1) == expected

    @given(rows, st.integers(1, 3))
    def test_weight_update_ratio(self, table, every):
        table = [[None if value is None else abs(value) for value in row] for row in table]
        steps = run("weights/moved:1e-09", table)
        expected = first(table, 1, lambda value: value > 10 or value < 1e-8)
        assert fired_at("WeightUpdateRatio", steps, every=every) == expected


def test_a_finding_names_the_worst_first():
    (found,) = findings(
        "VanishingGradient",
        [step(0, blocks={"gradients/abs_mean": {"a": 1e-8, "b": 1.0, "c": 0.0}})],
    )
    assert found.layers == ("c", "a")
    assert found.values == {"abs_mean": 0.0, "tensors": 2}
    assert found.cause
    assert len(found.remedies) == 2


def test_steps_that_a_scaler_left_out_are_not_judged():
    assert fired_at("ExplodingTensor", [step(0, skipped=True, loss=math.inf)], every=1) is None


def test_a_loss_may_explode_as_well():
    assert fired_at("ExplodingTensor", [step(0, loss=1.0), step(1, loss=math.inf)], every=1) == 1
    assert fired_at("ExplodingTensor", [step(0, loss=math.inf)], {"only_nan": "true"}) is None


def test_a_variance_without_limits_is_not_evaluated():
    assert "min_threshold" in (judge_of("TensorVariance").make().not_evaluated or "")
    limited = Engine([judge_of("TensorVariance", {"max_threshold": 1})])
    limited.observe(step(0, blocks={"weights/variance": [0.5]}))
    assert limited.not_evaluated() == {}


@pytest.mark.parametrize(
    "rule",
    [
        "AllZero",
        "DeadRelu",
        "ExplodingTensor",
        "PoorWeightInitialization",
        "SaturatedActivation",
        "TensorVariance",
        "UnchangedTensor",
        "VanishingGradient",
        "WeightUpdateRatio",
    ],
)
def test_a_rule_whose_values_are_not_recorded_is_not_evaluated(rule):
    engine = Engine([judge_of(rule, {"max_threshold": 1} if rule == "TensorVariance" else None)])
    engine.observe(step(0, blocks={"gradients/l2": [1.0]}))
    assert rule in engine.not_evaluated()


class TestActivations:
    def test_only_layers_with_a_name_that_matches_are_looked_at(self):
        dead = {"outputs/inactive:1.0": {"features.2": 0.9}}
        assert fired_at("DeadRelu", [step(0, role="gelu", blocks=dead)]) is None
        assert fired_at("DeadRelu", [step(0, role="relu", blocks=dead)]) == 0
        named = {"tensor_regex": ".*gelu_output|features.3"}
        assert fired_at("DeadRelu", [step(0, role="gelu", blocks=dead)], named) == 0

    def test_the_limits_are_part_of_what_is_recorded(self):
        needs = {need.series for need in judge_of("SaturatedActivation").needs}
        assert needs == {
            "inputs/outside:-9.4999:9.4999:1.0",
            "inputs/outside:-23.0:16.99999:1.0",
        }

    @given(shares, shares, st.sampled_from(["tanh", "sigmoid", "relu"]), st.floats(0, 100))
    def test_a_layer_is_judged_by_the_limits_of_its_kind(self, tanh, sigmoid, role, layer):
        blocks = {
            "inputs/outside:-9.4999:9.4999:1.0": [tanh],
            "inputs/outside:-23.0:16.99999:1.0": [sigmoid],
        }
        share = {"tanh": tanh, "sigmoid": sigmoid, "relu": 0.0}[role]
        fired = fired_at(
            "SaturatedActivation", [step(0, role=role, blocks=blocks)], {"threshold_layer": layer}
        )
        assert fired == (0 if 100 * share > layer else None)

    def test_outputs_that_come_with_the_step_behind_are_judged(self):
        steps = [
            step(number, role="relu", blocks=blocks)
            for number, blocks in ((0, {}), (1, {"outputs/inactive:1.0": [0.9]}))
        ]
        assert fired_at("DeadRelu", steps) == 1


class TestUnchanged:
    @given(
        st.lists(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=2, max_size=2), max_size=12),
        st.integers(2, 5),
    )
    def test_fires_after_enough_saves_in_a_row(self, table, saves):
        expected = next(
            (
                number
                for number in range(len(table))
                for column in range(2)
                if is_run([row[column] for row in table[: number + 1]], saves - 1)
            ),
            None,
        )
        steps = run("weights/unchanged:1e-05:1e-08", table)
        assert fired_at("UnchangedTensor", steps, {"num_steps": saves}, every=1) == expected

    @given(
        st.lists(
            st.sampled_from([0.0, 1e-8, 1.0, 1.0 + 1e-6, 1.1, math.nan, math.inf]), max_size=10
        )
    )
    def test_losses_are_compared_as_numpy_does(self, losses):
        close = [bool(numpy.allclose(b, a)) for a, b in pairwise(losses)]
        expected = next(
            (at + 2 for at in range(len(close) - 1) if close[at] and close[at + 1]), None
        )
        steps = [step(number, loss=loss) for number, loss in enumerate(losses)]
        parameters = {"collection_names": "losses"}
        assert fired_at("UnchangedTensor", steps, parameters, every=1) == expected

    def test_nan_is_the_same_as_nan_if_the_user_says_so(self):
        steps = [step(number, loss=math.nan) for number in range(3)]
        parameters = {"collection_names": "losses", "equal_nan": "True"}
        assert fired_at("UnchangedTensor", steps, parameters, every=1) == 2
        needs = judge_of("UnchangedTensor", parameters | {"collection_names": "weights"}).needs
        assert [need.series for need in needs] == ["weights/unchanged:1e-05:1e-08:nan"]


def is_run(column, length):
    """Whether a column ends in so many ones; steps without a value neither count nor end it."""
    known = [value for value in column if value is not None]
    return column[-1] is not None and len(known) >= length and all(known[-length:])


def test_the_update_ratio_is_taken_over_num_steps():
    judge = judge_of("WeightUpdateRatio", {"num_steps": "100", "epsilon": "1e-6"}, save_interval=7)
    assert [(need.series, need.every) for need in judge.needs] == [("weights/moved:1e-06", 100)]


class TestSelection:
    def chosen(self, *, collections=(), patterns=()):
        selection = Selection(collections, patterns)
        blocks = {
            "weights/l2": {"fc.weight": 1.0, "fc.bias": 1.0},
            "gradients/l2": {"fc.weight": 1.0, "fc.bias": 1.0},
            "outputs/l2": {"act": 1.0},
            "inputs/l2": {"act": 1.0},
            "mine/l2": {"x": 1.0},
        }
        record = step(0, role="relu", blocks=blocks, loss=1.0, val__loss=1.0, norm=1.0, accuracy=1)
        return {f"{each.collection}/{each.name}" for each in selection.values(record, "l2")}

    @pytest.mark.parametrize(
        ("collections", "patterns", "expected"),
        [
            (
                (),
                (),
                "weights/fc.weight weights/fc.bias gradients/fc.weight gradients/fc.bias losses/loss losses/val:loss",
            ),
            (("weights",), (), "weights/fc.weight"),
            (("biases",), (), "weights/fc.bias"),
            (("layers",), (), "outputs/act"),
            (("mine",), (), "mine/x"),
            (("losses",), (), "losses/loss losses/val:loss"),
            ((), ("^gradient/",), "gradients/fc.weight gradients/fc.bias"),
            ((), (".*relu_input",), "inputs/act"),
            ((), ("acc",), "losses/accuracy"),
            (("biases",), ("relu_output",), "weights/fc.bias outputs/act"),
        ],
    )
    def test_collections_and_names(self, collections, patterns, expected):
        assert self.chosen(collections=collections, patterns=patterns) == set(expected.split())

    def test_all_is_everything_but_what_the_user_named(self):
        assert len(self.chosen(collections=("all",))) == 8

    def test_what_is_read_is_what_was_asked_for(self):
        assert Selection(("biases", "outputs", "losses")).series("l2") == [
            "outputs/l2",
            "weights/l2",
        ]

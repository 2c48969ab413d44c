from __future__ import annotations

from orchestrator_runtime.hook.monitor import Monitor
from orchestrator_runtime.hook.plan import DebugPlan, RulePlan
from orchestrator_runtime.hook.wishes import Patterns, collected, given_intervals
from orchestrator_runtime.rules.rule import Need
from orchestrator_runtime.trace.record import Array


def test_arrays_and_histograms_have_intervals_like_any_series():
    plan = DebugPlan(
        None,
        every={"gradients/l2": 2},
        arrays={"weights": {"every": 5, "patterns": ["fc"]}, "labels": 3},
        histograms={"weights": 7},
    )
    schedule = Monitor(plan).schedule
    assert given_intervals(plan).keys() == {
        "gradients/l2",
        "weights/array",
        "labels/array",
        "weights/histogram",
    }
    assert {"weights/array", "labels/array", "weights/histogram"} <= set(schedule.due(105))
    assert "weights/array" not in schedule.due(3)
    assert "labels/array" in schedule.due(3)


def test_what_rules_need_as_a_whole_is_scheduled():
    plan = DebugPlan(None, (RulePlan("Confusion", "c", {}, False, 20),))
    schedule = Monitor(plan).schedule
    assert {"labels/array", "predictions/array"} <= set(schedule.due(20))
    assert not {"labels/array", "predictions/array"} & set(schedule.due(10))


def test_tensors_are_those_that_the_plan_or_a_rule_names():
    plan = DebugPlan(None, arrays={"weights": {"every": 5, "patterns": "fc"}, "gradients": 5})
    needs = [Need("weights/array", 10, "^conv"), Need("gradients/array", 10, "conv")]
    patterns = Patterns(plan, needs)
    held = [
        name for name in ("fc.weight", "conv.bias", "out") if patterns.hold("weights/array", name)
    ]
    assert held == ["fc.weight", "conv.bias"]
    assert patterns.hold("gradients/array", "out"), "the plan has all of them"
    assert patterns.hold("outputs/array", "anything")


def test_a_rule_s_pattern_does_not_limit_what_the_model_is_fed_with():
    """SageMaker's default expressions are names of its own library."""
    needs = [Need("input_image/array", 500, ".*hybridsequential0_input_0")]
    assert Patterns(DebugPlan(None), needs).hold("input_image/array", "Net_input_0")


def test_a_faulty_pattern_is_told_and_matches_nothing():
    patterns = Patterns(DebugPlan(None, arrays={"weights": {"every": 1, "patterns": ["("]}}))
    assert not patterns.hold("weights/array", "fc")
    assert "no regular expression" in patterns.faults[0]


def test_names_of_sagemaker_s_library_match_too():
    patterns = Patterns(
        DebugPlan(None, histograms={"outputs": {"every": 1, "patterns": ["relu_output"]}})
    )
    assert patterns.hold("outputs/histogram", "act", "relu")
    assert not patterns.hold("outputs/histogram", "act", "tanh")


def test_a_collection_chooses_from_all_kinds_or_from_the_one_it_is_called_after():
    plan = DebugPlan(
        None,
        collections={
            "mine": {"include": ["relu", "fc1"], "statistics": ["array", "l2"], "every": 7},
            "gradients": {"every": 3},
            "biases": {"statistics": ["mean"]},
        },
    )
    found = {each.series: each.patterns for each in collected(plan)}
    mine = ("relu", "fc1")
    assert found == {
        **{f"{kind}/array": mine for kind in ("weights", "outputs", "inputs")},
        **{f"{kind}/l2": mine for kind in ("weights", "gradients", "outputs", "inputs")},
        "gradients/array": (),
        "weights/mean": ("bias",),
    }
    schedule = Monitor(plan).schedule
    assert {"weights/array", "outputs/array", "outputs/l2"} <= set(schedule.due(14))
    assert "gradients/array" in schedule.due(3)


def test_a_collection_s_tensors_are_found_by_sagemaker_s_names():
    patterns = Patterns(DebugPlan(None, collections={"mine": {"include": ["relu_output", "^fc"]}}))
    assert patterns.hold("outputs/array", "layers.1", "relu")
    assert not patterns.hold("outputs/array", "layers.2", "sigmoid")
    assert patterns.hold("weights/array", "fc.weight")


def test_all_of_a_kind_stay_wanted_beside_a_collection():
    collections = {"mine": {"include": ["fc"]}}
    plan = DebugPlan(None, every={"weights/array": 5}, collections=collections)
    assert Patterns(plan).hold("weights/array", "conv")
    assert not Patterns(plan).hold("gradients/array", "conv")


def test_a_pattern_without_a_tensor_is_reported_once_it_was_looked_for_everywhere():
    plan = DebugPlan(
        None, arrays={"weights": {"every": 5, "patterns": ["typo"]}},
        collections={"mine": {"include": ["absent", "fc"]}},
    )  # fmt: skip
    patterns = Patterns(plan)
    assert patterns.remarks(final=False) == []
    patterns.hold("weights/array", "fc.weight")
    assert patterns.remarks(final=False) == [
        "pattern 'typo' of whole tensors or histograms matches no tensor; there are: fc.weight"
    ]
    (left,) = patterns.remarks(final=True)
    assert left.startswith("pattern 'absent'")
    assert patterns.remarks(final=True) == []


def test_a_kind_of_which_nothing_came_is_reported_at_the_end():
    patterns = Patterns(
        DebugPlan(
            None,
            arrays={"weigths": 5, "weights": 5, "mine": {"every": 1}, "labels": 0},
            histograms={"gradiens": 5, "outputs": {"every": 3, "patterns": ["typo"]}},
        )
    )
    patterns.seen("weights")
    patterns.seen("mine")
    histograms, arrays = patterns.absent()
    assert histograms.startswith("no histogram of 'gradiens' was recorded; there are weights, ")
    assert arrays.startswith("no whole tensor of 'weigths' was recorded; there are weights, ")


def test_the_monitor_knows_of_which_kinds_something_came():
    monitor = Monitor(DebugPlan(None, arrays={"weights": 5, "weigths": 5}))
    monitor.array(Array("fc", "weights", 0, "float32", (1,), b"    "))
    (remark,) = monitor.patterns.absent()
    assert "'weigths'" in remark

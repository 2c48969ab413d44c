from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.rules import RuleError, judge_of, rules
from orchestrator_runtime.rules.documented import DOCUMENTED
from orchestrator_runtime.rules.documented.base import DocumentedRule
from orchestrator_runtime.rules.parameters import Parameter, parse_parameters
from orchestrator_runtime.rules.profiler import PROFILER

# Names and defaults of the developer guide (February 2023), typed off anew; the common
# base_trial, collection_names and tensor_regex only where they have a default.
GUIDE: dict[str, dict[str, object]] = {
    "VanishingGradient": {"threshold": 1e-7},
    "ExplodingTensor": {"only_nan": False},
    "PoorWeightInitialization": {
        "activation_inputs_regex": (".*relu_input",),
        "threshold": 10.0,
        "distribution_range": 0.001,
        "patience": 5,
        "steps": 10,
    },
    "DeadRelu": {
        "tensor_regex": (".*relu_output",),
        "threshold_inactivity": 1.0,
        "threshold_layer": 50.0,
    },
    "SaturatedActivation": {
        "tensor_regex": (".*tanh_input|.*sigmoid_input",),
        "threshold_tanh_min": -9.4999,
        "threshold_tanh_max": 9.4999,
        "threshold_sigmoid_min": -23.0,
        "threshold_sigmoid_max": 16.99999,
        "threshold_inactivity": 1.0,
        "threshold_layer": 50.0,
    },
    "WeightUpdateRatio": {
        "num_steps": None,
        "large_threshold": 10.0,
        "small_threshold": 1e-8,
        "epsilon": 1e-9,
    },
    "AllZero": {"threshold": 100.0},
    "TensorVariance": {"max_threshold": None, "min_threshold": None},
    "UnchangedTensor": {"num_steps": 3, "rtol": 1e-5, "atol": 1e-8, "equal_nan": False},
    "LossNotDecreasing": {
        "use_losses_collection": True,
        "num_steps": 10,
        "diff_percent": 0.1,
        "increase_threshold_percent": 5.0,
        "mode": "GLOBAL",
    },
    "Overfit": {"start_step": 0, "patience": 1, "ratio_threshold": 0.1},
    "Overtraining": {"patience_train": 5, "patience_validation": 10, "delta": 0.01},
    "ClassImbalance": {
        "threshold_imbalance": 10.0,
        "threshold_misprediction": 0.7,
        "samples": 500,
        "argmax": False,
        "labels_regex": ".*labels",
        "predictions_regex": ".*predictions",
    },
    "Confusion": {
        "category_no": None,
        "labels": "labels",
        "predictions": "predictions",
        "labels_collection": "labels",
        "predictions_collection": "predictions",
        "min_diag": 0.9,
        "max_off_diag": 0.1,
    },
    "SimilarAcrossRuns": {"other_trial": None},
    "StalledTrainingRule": {
        "threshold": 1800.0,
        "stop_training_on_fire": False,
        "training_job_name_prefix": None,
    },
    "CheckInputImages": {
        "threshold_mean": 0.2,
        "threshold_samples": 500,
        "regex": ".*hybridsequential0_input_0",
        "channel": 1,
    },
    "NLPSequenceRatio": {
        "tensor_regex": (".*embedding0_input_0",),
        "token_values": ("0",),
        "token_thresholds_percent": ("50",),
    },
    "FeatureImportanceOverweight": {
        "threshold": 0.8,
        "nfeatures": 3,
        "tensor_regex": (".*feature_importance/weight",),
    },
    "TreeDepth": {"depth": 4},
    "CreateXgboostReport": {},
    "BatchSize": {
        "cpu_threshold_p95": 70.0,
        "gpu_threshold_p95": 70.0,
        "gpu_memory_threshold_p95": 70.0,
        "patience": 100,
        "window": 500,
    },
    "CPUBottleneck": {"threshold": 50, "gpu_threshold": 10, "cpu_threshold": 90, "patience": 100},
    "GPUMemoryIncrease": {"increase": 10, "patience": 100, "window": 500},
    "IOBottleneck": {"threshold": 50, "gpu_threshold": 70, "io_threshold": 50, "patience": 1000},
    "LoadBalancing": {"threshold": 0.5, "patience": 10},
    "LowGPUUtilization": {
        "threshold_p95": 70,
        "threshold_p5": 10,
        "patience": 1000,
        "window": 500,
    },
    "Dataloader": {"min_threshold": 70, "max_threshold": 200},
    "MaxInitializationTime": {"threshold": 20},
    "OverallSystemUsage": {},
    "OverallFrameworkMetrics": {},
    "StepOutlier": {"stddev": 5, "mode": None, "n_outliers": 10},
}
REQUIRED: dict[str, dict[str, object]] = {"SimilarAcrossRuns": {"other_trial": "/nowhere"}}
FAMILIES = [*DOCUMENTED, *PROFILER]
COMMON = {"base_trial", "collection_names", "tensor_regex", "scan_interval_us", "other_trials"}


def made(rule, **given):
    return rule(**REQUIRED.get(rule.name, {}), **given)


def test_every_rule_of_the_guide_is_there():
    assert {rule.name for rule in FAMILIES} == {*GUIDE, "ProfilerReport"}
    assert set(rules()) >= {*GUIDE, "ProfilerReport"}


@pytest.mark.parametrize("name", GUIDE)
def test_parameters_and_defaults_are_those_of_the_guide(name):
    rule = next(rule for rule in FAMILIES if rule.name == name)
    values = made(rule).values
    expected = GUIDE[name] | REQUIRED.get(name, {})
    assert {key: values[key] for key in expected} == expected
    assert set(values) - set(expected) <= COMMON
    assert "base_trial" in values


@pytest.mark.parametrize("rule", PROFILER, ids=lambda rule: rule.name)
def test_rules_of_the_profiler_look_once_a_minute_by_default(rule):
    assert made(rule).values["scan_interval_us"] == 60_000_000


@pytest.mark.parametrize("rule", DOCUMENTED, ids=lambda rule: rule.name)
def test_values_are_saved_every_500_steps_unless_the_user_says_so(rule):
    parameters = REQUIRED.get(rule.name)
    assert {need.every for need in judge_of(rule.name, parameters).needs} <= {500}
    for every in (1, 7):
        judge = judge_of(rule.name, parameters, save_interval=every)
        assert {need.every for need in judge.needs} <= {every}
        made_rule = judge.make()
        assert isinstance(made_rule, DocumentedRule)
        assert made_rule.every == every


def test_rules_without_collections_get_no_interval():
    assert judge_of("StepOutlier", save_interval=3).make().values["stddev"] == 5


@pytest.mark.parametrize("rule", FAMILIES, ids=lambda rule: rule.name)
def test_what_can_find_something_explains_it(rule):
    reports_only = {"OverallSystemUsage", "OverallFrameworkMetrics", "ProfilerReport"}
    if rule.evaluated and rule.name not in reports_only:
        assert rule.cause.endswith(".")
        assert len(rule.remedies) == 2


@pytest.mark.parametrize(
    "name", ["FeatureImportanceOverweight", "TreeDepth", "CreateXgboostReport"]
)
def test_rules_for_trees_are_known_but_not_evaluated(name):
    judge = judge_of(name)
    assert not rules()[name].evaluated
    assert "XGBoost" in (judge.make().not_evaluated or "")
    assert not judge.needs


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("VanishingGradient", {"treshold": "1"}, "did you mean 'threshold'"),
        ("VanishingGradient", {"threshold": "small"}, "threshold"),
        ("VanishingGradient", {"threshold": "-1"}, "at least 0"),
        ("AllZero", {"threshold": "101"}, "from 0 to 100"),
        ("UnchangedTensor", {"num_steps": "1"}, "at least 2"),
        ("DeadRelu", {"tensor_regex": "("}, "tensor_regex"),
        ("LossNotDecreasing", {"mode": "PREDICT"}, "GLOBAL, TRAIN, EVAL"),
        ("SimilarAcrossRuns", {}, "other_trial"),
        ("NLPSequenceRatio", {"token_values": "1, 2"}, "percentage for each token"),
        ("NLPSequenceRatio", {"token_values": "pad"}, "numbers"),
        ("ProfilerReport", {"CpuBottelneck_threshold": "1"}, "did you mean 'CPUBottleneck'"),
        ("ProfilerReport", {"CPUBottleneck_treshold": "1"}, "CPUBottleneck_threshold"),
        ("VanishingGradients", {}, "did you mean 'VanishingGradient'"),
    ],
)
def test_wrong_rules_and_parameters_are_explained(name, parameters, text):
    with pytest.raises(RuleError, match=".*") as refused:
        judge_of(name, parameters)
    assert text in str(refused.value)


@pytest.mark.parametrize("nothing", ["", "None", None])
def test_what_has_no_default_may_be_left_open(nothing):
    assert judge_of("WeightUpdateRatio", {"num_steps": nothing}).make().values["num_steps"] is None


def test_a_save_interval_must_be_a_number_of_steps():
    with pytest.raises(RuleError, match="at least 1"):
        judge_of("VanishingGradient", save_interval=0)


@given(st.floats(0, 1e300, allow_nan=False), st.booleans())
def test_numbers_survive_the_wire(number, as_text):
    given_value = repr(number) if as_text else number
    rule = judge_of("VanishingGradient", {"threshold": given_value}).make()
    assert rule.values["threshold"] == number


@given(st.lists(st.from_regex(r"[a-z.*]{1,8}\w", fullmatch=True), min_size=1, max_size=4))
def test_expressions_are_separated_by_commas(patterns):
    pattern = Parameter("regex", None, "patterns")
    try:
        parsed = parse_parameters("R", [pattern], {"regex": " , ".join(patterns)})
    except RuleError:  # e.g. ** is no expression
        return
    assert parsed["regex"] in (tuple(patterns), (" , ".join(patterns),))


def test_a_comma_may_be_part_of_an_expression():
    pattern = Parameter("regex", None, "patterns")
    parsed = parse_parameters("R", [pattern], {"regex": "(conv|fc)[0,1].weight"})
    assert parsed["regex"] == ("(conv|fc)[0,1].weight",)


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3))
def test_any_parameters_are_taken_or_explained(parameters):
    for rule in FAMILIES:
        try:
            judge_of(rule.name, parameters)
        except RuleError as error:
            assert rule.name in str(error)  # noqa: PT017


@pytest.mark.parametrize("value", ["many", "nan", "", True])
def test_what_is_no_number_is_told_in_our_words(value):
    with pytest.raises(RuleError, match="'evidence' is .*: a number is needed"):
        judge_of("exploding_gradient", {"evidence": value})

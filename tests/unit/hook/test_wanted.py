from __future__ import annotations

import os

import pytest
from orchestrator_runtime.hook.wanted import Wanted, plan_of
from orchestrator_runtime.rules import DEFAULT_RULES, Finding, Rule
from orchestrator_runtime.rules.parameters import RuleError


class Own(Rule):
    def observe(self, record):
        return Finding("Own", record.step, "always")


def test_by_default_all_our_rules_judge_and_nothing_is_written():
    plan = plan_of(Wanted())
    assert [rule.rule for rule in plan.rules] == list(DEFAULT_RULES)
    assert plan.directory is None
    assert plan.findings is None
    assert not any(rule.stop for rule in plan.rules)


def test_rules_have_parameters_and_may_end_the_training():
    plan = plan_of(
        Wanted(rules={"non_finite": {"loss_patience": 5}, "AllZero": None}, stop_on="AllZero")
    )
    assert [(rule.rule, rule.parameters, rule.stop) for rule in plan.rules] == [
        ("non_finite", {"loss_patience": 5}, False),
        ("AllZero", {}, True),
    ]
    assert all(rule.stop for rule in plan_of(Wanted(stop_on=["all"])).rules)


def test_a_parameter_of_a_rule_may_say_that_it_ends_the_training():
    rules = {"StalledTrainingRule": {"stop_training_on_fire": True}}
    assert plan_of(Wanted(rules=rules)).rules[0].stop


def test_classes_are_rules_too():
    from orchestrator_runtime.rules.documented.magnitudes import AllZero

    names = [rule.rule for rule in plan_of(Wanted(rules=[Own, AllZero])).rules]
    assert names == [f"{__name__}:Own", "AllZero"]


def test_places_are_made_absolute_and_the_file_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_of(Wanted(directory="traces", findings=tmp_path / "found.jsonl"))
    assert plan.directory == os.path.join(os.getcwd(), "traces")  # noqa: PTH109, PTH118
    assert (tmp_path / "found.jsonl").read_bytes() == b""


def test_intervals_and_whole_tensors():
    plan = plan_of(
        Wanted(
            every={"gradients/l2": 0, "weights/l2": {"every": 5, "end": 100, "steps": [1]}},
            arrays={"weights": {"every": 10, "patterns": "fc"}},
            collections={"mine": {"include": "relu", "statistics": "l2"}, "biases": {"every": 5}},
            histograms={"gradients": 20},
            include=["fc"],
        )
    )
    assert plan.every == {"gradients/l2": 0, "weights/l2": {"every": 5, "end": 100, "steps": [1]}}
    assert plan.collections == {
        "mine": {"every": 500, "include": ("relu",), "statistics": ("l2",), "steps": []},
        "biases": {"every": 5, "include": (), "statistics": (), "steps": []},
    }
    assert plan.arrays == {"weights": {"every": 10, "patterns": ("fc",), "steps": []}}
    assert plan.histograms == {"gradients": 20}
    assert plan.include == ("fc",)


@pytest.mark.parametrize(
    ("members", "error", "text"),
    [
        ({"rules": ["nonfinite"]}, RuleError, "did you mean 'non_finite'"),
        ({"rules": [3]}, RuleError, "parameters go into a mapping"),
        ({"rules": {"non_finite": {"foo": 1}}}, RuleError, "has no parameter 'foo'"),
        ({"rules": {"non_finite": 3}}, TypeError, "must be a mapping"),
        ({"stop_on": ["AllZero"]}, RuleError, "must name rules that judge"),
        ({"stop_on": ["x"], "rules": []}, RuleError, "there are no rules"),
        ({"stop_on": [3]}, TypeError, "list of text"),
        ({"every": 3}, TypeError, "must be a mapping"),
        ({"every": {"l2": 3}}, ValueError, "COLLECTION/STATISTIC"),
        ({"every": {"weights/l2": "3"}}, TypeError, "whole number of steps"),
        ({"every": {"weights/l2": True}}, TypeError, "whole number of steps"),
        ({"every": {"weights/l2": -1}}, ValueError, "0 leaves it out"),
        ({"every": {"weights/l2": {"evry": 1}}}, ValueError, "has no member 'evry'"),
        ({"every": {"weights/l2": {"every": 0.5}}}, TypeError, "whole number of steps"),
        ({"include": ["("]}, ValueError, "no regular expression"),
        ({"arrays": {"weights/array": 3}}, ValueError, "by collection"),
        ({"collections": {"mine": {}}}, ValueError, "must have include"),
        ({"collections": {"mine": 5}}, TypeError, "must be a mapping"),
        ({"collections": {"weights": {"every": -1}}}, ValueError, "0 or more steps"),
        ({"collections": {"weights": {"evry": 1}}}, ValueError, "no member 'evry'"),
        ({"arrays": {"weights": {"every": 3, "patterns": "("}}}, ValueError, "arrays"),
        ({"histograms": {"weights": None}}, TypeError, "whole number of steps"),
        ({"directory": 3}, TypeError, "must be a path"),
        ({"directory": ""}, ValueError, "must be a path"),
        ({"findings": "/nowhere/at/all"}, ValueError, "make its directory"),
    ],
)
def test_wrong_arguments_say_rule_value_and_remedy(members, error, text):
    with pytest.raises(error, match=text):
        plan_of(Wanted(**members))


def test_a_class_within_a_function_cannot_be_found_again():
    class Hidden(Own):
        pass

    with pytest.raises(RuleError, match="class of a module"):
        plan_of(Wanted(rules=[Hidden]))

"""Debugger and rules over SageMaker's API: what a request asks for, and how it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.aws.sagemaker.actions import Actions, NoAction, action_text, actions_of
from orchestrator.api.aws.sagemaker.create import specification
from orchestrator.api.aws.sagemaker.describe import description, requested
from orchestrator.api.aws.sagemaker.shapes import job_shapes
from orchestrator.api.aws.sagemaker.tensor_collections import collections_of, requested_collections
from orchestrator.debugger.evaluation import evaluate
from orchestrator.debugger.lines import read_lines
from orchestrator.errors import InvalidSpec
from orchestrator.spec.debug import Debugger
from orchestrator.spec.findings import Delivery
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.recorded import TensorCollection
from tests.unit.cli.records import record
from tests.unit.debugger.seen import ENDED, WATCHING, finding, write

SHAPE = job_shapes().request
JOBS = Path("/jobs")
HOOK = {"S3OutputPath": "s3://bucket/debug"}
STOP = '[{\\"name\\": \\"stoptraining\\", \\"training_job_prefix\\": \\"job\\"}]'
"""As smdebug_rulesconfig 1.0.1 writes it."""
MAIL_AND_SMS = (
    '[{\\"name\\": \\"email\\", \\"endpoint\\": \\"a@b.cc\\"}, '
    '{\\"name\\": \\"sms\\", \\"endpoint\\": \\"+123\\"}]'
)


def request(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request with rules."""
    asked: dict[str, Any] = {
        "TrainingJobName": "job",
        "RoleArn": "arn:aws:iam::000000000000:role/trainer",
        "AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": "image"},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        **more,
    }
    return asked | ({"DebugRuleConfigurations": list(rules)} if rules else {})


def rule(to_invoke: str | None = "non_finite", name: str = "mine", **given: str) -> dict[str, Any]:
    """A rule as the SDK asks for it."""
    named = {} if to_invoke is None else {"rule_to_invoke": to_invoke}
    return {
        "RuleConfigurationName": name,
        "RuleEvaluatorImage": "503895931360.dkr.ecr.us-east-1.amazonaws.com/rules:latest",
        "RuleParameters": {**named, **given},
    }


def debugger(asked: dict[str, Any]) -> Debugger | None:
    return specification(asked, SHAPE).debugger


def test_a_request_that_asks_for_nothing_gets_no_debugger() -> None:
    assert debugger(request()) is None


def test_a_hook_alone_records_and_judges_nothing() -> None:
    found = debugger(request(DebugHookConfig=HOOK))
    assert found is not None
    assert (found.rules, found.stop_on, found.every) == ((), (), {})
    assert found.s3_output_path == "s3://bucket/debug"
    assert found.local_path == "/opt/ml/output/tensors"


def test_a_rule_gets_its_name_parameters_and_actions() -> None:
    found = debugger(request(rule(action_json=STOP, base_trial="x"), rule(name="other")))
    assert found is not None
    assert [(each.rule, each.name, each.parameters) for each in found.rules] == [
        ("non_finite", "mine", {}),
        ("non_finite", "other", {}),
    ]
    assert found.stop_on == ("mine",)


def test_a_class_of_the_source_is_a_rule() -> None:
    found = debugger(request(rule("my_rules:LossSpike", anything="1")))
    assert found is not None
    assert found.rules[0].parameters == {"anything": "1"}


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ([rule("NoSuchRule")], "'NoSuchRule' at 'debugRuleConfigurations.1.member.ruleParam"),
        ([rule("nonfinite")], "did you mean 'non_finite'"),
        ([rule(None)], "Value null at"),
        ([rule("Own", source_s3_uri="s3://b/own.py")], "a class in your source"),
        ([rule(), rule(name="b", nonsense="1")], "2.member.ruleParameters.*no parameter 'nonsense'"),
        ([rule(action_json="{")], "action_json must be JSON"),
        ([rule(action_json=STOP.replace('\\"job\\"', '\\"other\\"'))], "must be a part of this job's name"),
        ([rule(), rule()], "names of rules must be unique"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused(rules: list[dict[str, Any]], text: str) -> None:
    with pytest.raises(InvalidSpec, match=text):
        specification(request(*rules), SHAPE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("[]", Actions()),
        (STOP, Actions(stops=True)),
        ('{"name": "stoptraining", "parameters": {"training_job_prefix": "JO"}}', Actions(True)),
        ('{"name": "StopTraining"}', Actions(stops=True)),
        (
            MAIL_AND_SMS,
            Actions(notify=("mailto:a@b.cc", "tel:+123")),
        ),
        ('{"name": "email", "parameters": {"email_address": "a@b.cc"}}', Actions(False, ("mailto:a@b.cc",))),
        ('{"name": "email"}', None),
        ('{"name": "launch"}', None),
        ("7", None),
        ("[" * 5000, None),
    ],
)  # fmt: skip
def test_actions_are_read_in_all_their_forms(text: str, expected: Actions | None) -> None:
    if expected is None:
        with pytest.raises(NoAction):
            actions_of(text, "my-job")
    else:
        assert actions_of(text, "my-job") == expected


def test_actions_are_written_as_they_are_read() -> None:
    wanted = Actions(True, ("mailto:a@b.cc", "tel:+1"))
    assert actions_of(action_text(True, wanted.notify, "job"), "job") == wanted
    assert action_text(False, (), "job") == ""


def collections(
    *given: tuple[str, dict[str, str]], **hook: Any
) -> dict[str, tuple[tuple[str, ...], int]]:
    """Statistics and interval of each collection."""
    return {
        name: (each.statistics, each.every) for name, each in collected(*given, **hook).items()
    }


def collected(*given: tuple[str, dict[str, str]], **hook: Any) -> dict[str, TensorCollection]:
    asked = [{"CollectionName": name, "CollectionParameters": words} for name, words in given]
    found = debugger(request(DebugHookConfig=HOOK | {"CollectionConfigurations": asked, **hook}))
    assert found is not None
    return found.collections


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("gradients", {"save_interval": "7"}), (("l2",), 7)),
        (("gradients", {"save_interval": "x"}), (("l2",), 500)),
        (("weights", {"norms": "l2"}), (("l2",), 500)),
        (("gradients", {"reductions": "abs_mean,prod", "train.save_interval": "7"}), (("abs_mean",), 7)),
        (("weights", {"reductions": "abs_l2_norm, l2_norm,max"}), (("l2", "max"), 500)),
        (("outputs", {"save_raw_tensor": "True"}), (("array",), 500)),
        (("biases", {"reductions": "min", "save_raw_tensor": "true"}), (("min", "array"), 500)),
        (("weights", {"save_histogram": "true"}), (("histogram",), 500)),
        (("custom", {"include_regex": "relu"}), (("array",), 500)),
        (("custom", {"include_regex": "relu", "reductions": "mean"}), (("mean",), 500)),
        (("custom", {"include_regex": "relu", "reductions": "prod"}), (("l2",), 500)),
        (("gradients", {"include_regex": "fc"}), (("array",), 500)),
        (("all", {}), (("array",), 500)),
        (("losses", {"save_interval": "2"}), None),
        (("custom", {}), None),
    ],
)  # fmt: skip
def test_a_collection_says_what_is_recorded_of_it(
    given: tuple[str, dict[str, str]], expected: Any
) -> None:
    assert collections(given).get(given[0]) == expected


def test_names_and_steps_of_a_collection_are_its_own_or_the_hook_s() -> None:
    hook = {"save_interval": "9", "start_step": "3", "reductions": "std"}
    own = {
        "include_regex": "relu, ^fc",
        "train.save_interval": "4",
        "save_interval": "5",
        "end_step": "90",
        "save_steps": "1, 2,x",
    }
    found = collected(("mine", own), ("gradients", {}), HookParameters=hook)
    assert found["mine"] == TensorCollection(
        every=4, start=3, end=90, steps=(1, 2), include=("relu", "^fc"), statistics=("std",)
    )
    assert found["gradients"] == TensorCollection(every=9, start=3, statistics=("std",))
    (never,) = collected(("gradients", {"start_step": "5", "end_step": "5"})).values()
    assert (never.every, never.start, never.end) == (0, 0, None)


def test_hook_parameters_can_ask_for_collections() -> None:
    given = {"save_all": "true", "include_regex": "fc"}
    found = collected(HookParameters=given)
    assert {name: each.include for name, each in found.items()} == {
        "all": (".*",),
        "default": ("fc",),
    }


def test_an_expression_that_is_none_is_refused() -> None:
    place = "debugHookConfig.collectionConfigurations.2.member.collectionParameters.include_regex"
    with pytest.raises(InvalidSpec, match=re.escape(f"Value '(' at '{place}'")):
        collected(("gradients", {}), ("mine", {"include_regex": "fc,("}))


def test_collections_are_described_by_the_request_that_would_ask_for_them() -> None:
    asked = {
        "mine": {
            "include": ["relu", "^fc"],
            "statistics": ["array", "std"],
            "start": 3,
            "end": 90,
        },
        "weights": {"statistics": ["histogram", "l2"], "every": 7},
        "gradients": {"every": 0, "steps": [3, 4]},
        "untold": {"include": ["a{1,2}"]},
    }
    ours = Debugger.parse({"rules": [], "collections": asked})
    again = collections_of({"CollectionConfigurations": requested_collections(ours.collections)})
    read = Debugger.parse({"rules": [], "collections": again})
    for name in ("mine", "weights"):
        mine, given = read.collections[name], ours.collections[name]
        assert mine.model_copy(update={"statistics": given.statistics}) == given
        assert set(mine.statistics) == set(given.statistics)
    assert read.collections["gradients"].steps == (3, 4)
    assert read.collections["gradients"].every == 0
    assert "untold" not in again


def test_reductions_are_told_back_by_the_names_that_smdebug_has() -> None:
    ours = {"weights": TensorCollection(statistics=("l2", "abs_max"))}
    (told,) = requested_collections(ours)
    assert told["CollectionParameters"]["reductions"] == "l2_norm,abs_max"


def test_all_workers_are_recorded_when_asked_for_elsewhere_in_the_program() -> None:
    hook = HOOK | {"LocalPath": "/opt/ml/elsewhere/", "HookParameters": {"include_workers": "all"}}
    found = debugger(request(DebugHookConfig=hook))
    assert found is not None
    assert (found.all_ranks, found.local_path) == (True, "/opt/ml/elsewhere")


def described(folder: Path, asked: dict[str, Any], *lines: Any) -> dict[str, Any]:
    """How a job is described that has ended."""
    job = record("job", spec=specification(asked, SHAPE).model_dump())
    write(folder, *lines)
    report = evaluate(job, read_lines(folder, job))
    return description(job, SHAPE, JOBS, report)


def test_each_rule_has_a_status(tmp_path: Path) -> None:
    asked = request(rule(), rule("vanishing_gradient", "quiet"))
    answer = described(tmp_path, asked, WATCHING, finding(name="mine"), ENDED)
    mine, quiet = answer["DebugRuleEvaluationStatuses"]
    assert (mine["RuleConfigurationName"], mine["RuleEvaluationStatus"]) == ("mine", "IssuesFound")
    assert mine["StatusDetails"] == "step 7: a gradient is not finite"
    assert mine["RuleEvaluationJobArn"].startswith(
        "arn:aws:sagemaker:us-east-1:000000000000:processing-job/job-mine-"
    )
    assert quiet["RuleEvaluationStatus"] == "NoIssuesFound"
    assert "ProfilerRuleEvaluationStatuses" not in answer


def test_a_program_that_was_not_seen_is_in_error_and_says_why(tmp_path: Path) -> None:
    (status,) = described(tmp_path, request(rule()))["DebugRuleEvaluationStatuses"]
    assert status["RuleEvaluationStatus"] == "Error"
    assert status["StatusDetails"].startswith("unmonitored: the hook was never loaded")


def test_a_rule_of_the_profiler_that_cannot_be_is_accepted_and_in_error(
    tmp_path: Path,
) -> None:
    profiler = [rule("ProfilerReport", "report", any="1"), rule("ProfilerReport", "here")]
    profiler.append(rule("NoSuchRule", "unknown"))
    asked = request(ProfilerRuleConfigurations=profiler, ProfilerConfig={"S3OutputPath": "s3://b"})
    statuses = described(tmp_path, asked, WATCHING, ENDED)["ProfilerRuleEvaluationStatuses"]
    assert [each["RuleEvaluationStatus"] for each in statuses][:2] == ["Error", "NoIssuesFound"]
    assert statuses[0]["StatusDetails"].startswith("not evaluated: ProfilerReport: 'any'")
    assert statuses[2]["StatusDetails"] == "not evaluated: there is no rule 'NoSuchRule' here"


def test_what_was_not_told_is_said(tmp_path: Path) -> None:
    job = record("job", spec=specification(request(rule()), SHAPE).model_dump())
    write(tmp_path, WATCHING, finding(name="mine"))
    told = Delivery(
        name="mine",
        attempt=1,
        host="algo-1",
        to="mailto:a@b.cc",
        delivered=False,
        tries=0,
        error="no service",
        final=True,
    )
    report = evaluate(job, read_lines(tmp_path, job)).model_copy(update={"deliveries": (told,)})
    (status,) = description(job, SHAPE, JOBS, report)["DebugRuleEvaluationStatuses"]
    assert status["StatusDetails"].endswith("; mailto:a@b.cc was not told: no service")


def test_a_job_of_the_sdk_is_described_by_the_request_that_would_ask_for_it() -> None:
    ours = TrainingJobSpec.parse(
        {
            "training_job_name": "job",
            "algorithm_specification": {"training_image": "image"},
            "backend": "docker",
            "debugger": {
                "rules": [
                    {"rule": "non_finite", "name": "mine", "notify": ["mailto:a@b.cc"]},
                    "dead_units",
                ],
                "stop_on": ["mine", "exploding_gradient"],
                "s3_output_path": "s3://bucket/debug",
                "all_ranks": True,
            },
        }
    )
    echoed = requested(ours, SHAPE)
    assert json.loads(json.dumps(echoed)) == echoed
    again = debugger(request() | echoed)
    assert again is not None
    assert ours.debugger is not None
    assert [(r.rule, r.called, r.notify) for r in again.rules] == [
        (r.rule, r.called, r.notify) for r in ours.debugger.judged_by()
    ]
    assert again.stop_on == ("mine", "exploding_gradient")
    assert (again.all_ranks, again.s3_output_path) == (True, "s3://bucket/debug")


@pytest.mark.parametrize(
    ("to_invoke", "collections", "expected"),
    [
        ("VanishingGradient", {}, None),
        ("VanishingGradient", {"gradients": "7", "weights": "3"}, 7),
        ("VanishingGradient", {"custom": "7"}, None),
        ("LossNotDecreasing", {"losses": "9", "gradients": "3"}, 9),
        ("DeadRelu", {"relu_output": "4", "gradients": "3"}, 4),
        ("ExplodingTensor", {"gradients": "8", "weights": "6"}, 6),
    ],
)
def test_a_rule_of_sagemakers_sees_what_its_collections_save(
    to_invoke: str, collections: dict[str, str], expected: int | None
) -> None:
    asked = [
        {"CollectionName": name, "CollectionParameters": {"save_interval": interval}}
        for name, interval in collections.items()
    ]
    hook = HOOK | {"CollectionConfigurations": asked}
    found = debugger(request(rule(to_invoke), DebugHookConfig=hook))
    assert found is not None
    assert [each.save_interval for each in found.rules] == [expected]


def test_an_interval_of_the_hook_is_that_of_all_collections() -> None:
    hook = HOOK | {"HookParameters": {"save_interval": "12"}}
    found = debugger(request(rule("VanishingGradient"), DebugHookConfig=hook))
    assert found is not None
    assert found.rules[0].save_interval == 12

"""What is said of a broken rule: place, rule, value and remedy; nothing secret, no word twice."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.spec.debug import Debugger
from orchestrator.spec.job import TrainingJobSpec

JOB: dict[str, Any] = {
    "training_job_name": "job",
    "algorithm_specification": {"training_image": "image"},
}


def said_of(**change: Any) -> str:
    with pytest.raises(InvalidSpec) as caught:
        TrainingJobSpec.parse(JOB | change)
    return caught.value.message.removeprefix("1 rule of the specification broken: ")


def metric(regex: str) -> dict[str, Any]:
    return {"metric_definitions": [{"name": "loss", "regex": regex}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"hyper_parameters": {"a": "x" * 2600}},
            (
                "hyper_parameters.a: must have at most 2500 characters, got 2600 that begin "
                f"'{'x' * 79}…'; shorten it"
            ),
        ),
        (
            {"environment": {"A": "x" * 600}},
            "environment.A: must have at most 512 characters, got 600; shorten it",
        ),
        (
            {"hyper_parameters": {str(n): "" for n in range(101)}},
            "hyper_parameters: must have at most 100 entries, got 101; leave some out",
        ),
        ({"priority": 2000}, "priority: must be at most 1000, got 2000; give a smaller number"),
        (
            {"stop_grace_seconds": -1},
            "stop_grace_seconds: must be at least 0.0, got -1; give a larger number",
        ),
        (
            {"enable_network_isolation": "perhaps"},
            (
                "enable_network_isolation: must be a valid boolean, unable to interpret input, got "
                "'perhaps'; correct it"
            ),
        ),
        ({"colour": 1}, "colour: is not known here; correct its name, or leave it out"),
        (
            {"tags": [{"value": "v"}]},
            "tags.0.key: must be given, it is missing; add it",
        ),
        (
            {"output_data_config": {"compression_type": "ZIP"}},
            (
                "output_data_config.compression_type: must be 'GZIP' or 'NONE', got 'ZIP'; choose one "
                "of these"
            ),
        ),
        (
            {"algorithm_specification": metric("loss")},
            (
                "algorithm_specification.metric_definitions.0.regex: must have one group that captures "
                "the value, got 'loss'; put parentheses around the number"
            ),
        ),
        (
            {"input_data_config": [{"channel_name": "a", "uri": "data"}]},
            (
                "input_data_config.0.uri: must start with s3://, file:/// or / (an absolute path), got "
                "'data'; give the whole address"
            ),
        ),
    ],
)
def test_a_violation_has_place_rule_value_and_remedy(change: dict[str, Any], message: str) -> None:
    assert said_of(**change) == message


@pytest.mark.parametrize(
    "change",
    [
        {"hyper_parameters": {"api_token": "hush" * 700}},
        {"hyper_parameters": {"api_token": ["hush"]}},
        {"hyper_parameters": {"config": {"api_token": "hush"}}},
        {"hyper_parameters": {"config": '{"api_token": "hush"}' + " " * 2500}},
        {"hyper_parameters": ["hush"]},
        {"environment": {"ANYTHING": "hush" * 200}},
        {"environment": {"ANYTHING": ["hush"]}},
        {"environment": ["hush"]},
        {"secrets": "hush"},
    ],
    ids=str,
)
def test_what_may_be_secret_is_not_repeated(change: dict[str, Any]) -> None:
    assert "hush" not in said_of(**change)


def test_a_long_name_is_cut_in_the_place_too() -> None:
    message = said_of(hyper_parameters={"n" * 300: "1"})
    assert "must have at most 256 characters, got 300" in message
    assert len(message) < 400


def test_several_violations_are_sentences() -> None:
    with pytest.raises(InvalidSpec) as caught:
        TrainingJobSpec.parse(JOB | {"priority": 2000, "colour": 1})
    assert caught.value.message == (
        "2 rules of the specification broken: priority: must be at most 1000, got 2000; give a "
        "smaller number. colour: is not known here; correct its name, or leave it out"
    )


def test_a_word_instead_of_a_list_is_told_in_python_s_and_json_s_words() -> None:
    with pytest.raises(
        InvalidSpec, match="stop_on: must be a list, got 'all'; put it in brackets"
    ):
        Debugger.parse({"stop_on": "all"})

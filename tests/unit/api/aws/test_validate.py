"""The model's rules in AWS's words, all broken ones at once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.parse import parse_json
from orchestrator.api.aws.patterns import MATCH_SECONDS, pattern
from orchestrator.api.aws.validate import validate
from tests.unit.api.aws.operations import botocores, ours

NAME = "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
ROLE = r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
VALID: dict[str, Any] = {
    "TrainingJobName": "job-1",
    "RoleArn": "arn:aws:iam::000000000000:role/me",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
}


def said(change: dict[str, Any], operation: str = "CreateTrainingJob") -> str:
    """What is wrong with a request that is valid but for some members; None leaves one out."""
    document = (VALID if operation == "CreateTrainingJob" else {}) | change
    shape = ours("sagemaker").operations[operation].input
    assert shape is not None
    with pytest.raises(AwsError) as refusal:
        validate(parse_json(document, shape), shape)
    assert refusal.value.code == "ValidationException"
    return refusal.value.message


def one(text: str) -> str:
    return f"1 validation error detected: {text}"


TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "a name": (
        {"TrainingJobName": "bad name!!"},
        one(
            "Value 'bad name!!' at 'trainingJobName' failed to satisfy constraint: Member must "
            f"satisfy regular expression pattern: {NAME}"
        ),
    ),
    "a long name": (
        {"TrainingJobName": "a" * 64},
        one(
            f"Value '{'a' * 64}' at 'trainingJobName' failed to satisfy constraint: Member must "
            "have length less than or equal to 63"
        ),
    ),
    "no name": (
        {"TrainingJobName": None},
        one(
            "Value null at 'trainingJobName' failed to satisfy constraint: Member must not be null"
        ),
    ),
    "two at once": (
        {"TrainingJobName": "a b", "RoleArn": None},
        (
            "2 validation errors detected: Value null at 'roleArn' failed to satisfy constraint: Member "
            "must not be null; Value 'a b' at 'trainingJobName' failed to satisfy constraint: Member "
            f"must satisfy regular expression pattern: {NAME}"
        ),
    ),
    "a short role": (
        {"RoleArn": "me"},
        (
            "2 validation errors detected: Value 'me' at 'roleArn' failed to satisfy constraint: Member "
            "must have length greater than or equal to 20; Value 'me' at 'roleArn' failed to satisfy "
            f"constraint: Member must satisfy regular expression pattern: {ROLE}"
        ),
    ),
    "a number": (
        {"StoppingCondition": {"MaxRuntimeInSeconds": 0}},
        one(
            "Value '0' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1"
        ),
    ),
    "an enumeration": (
        {"AlgorithmSpecification": {"TrainingInputMode": "Stream"}},
        one(
            "Value 'Stream' at 'algorithmSpecification.trainingInputMode' failed to satisfy "
            "constraint: Member must satisfy enum value set: [Pipe, File, FastFile]"
        ),
    ),
    "deep in a list": (
        {"InputDataConfig": [{"ChannelName": "a"}, {"ChannelName": "?", "DataSource": {}}]},
        (
            "2 validation errors detected: Value null at 'inputDataConfig.1.member.dataSource' failed "
            "to satisfy constraint: Member must not be null; Value '?' at "
            "'inputDataConfig.2.member.channelName' failed to satisfy constraint: Member must satisfy "
            r"regular expression pattern: [A-Za-z0-9\.\-_]+"
        ),
    ),
    "an empty list": (
        {"InputDataConfig": []},
        one(
            "Value '[]' at 'inputDataConfig' failed to satisfy constraint: Member must have length "
            "greater than or equal to 1"
        ),
    ),
    "a list of texts": (
        {"VpcConfig": {"SecurityGroupIds": ["a", "?" * 33], "Subnets": ["b"]}},
        one(
            f"Value '[a, {'?' * 33}]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: "
            "Member must satisfy constraint: [Member must have length less than or equal to 32, "
            "Member must have length greater than or equal to 0, Member must satisfy regular "
            r"expression pattern: [-0-9a-zA-Z]+]"
        ),
    ),
    "a map's value": (
        {"Environment": {"A": "x" * 513}},
        one(
            f"Value '{{A={'x' * 253}...' at 'environment' failed to satisfy constraint: Map value "
            "must satisfy constraint: [Member must have length less than or equal to 512, Member "
            r"must have length greater than or equal to 0, Member must satisfy regular expression "
            r"pattern: [\S\s]*]"
        ),
    ),
    "a map's key": (
        {"Environment": {"1A": "x"}},
        one(
            "Value '{1A=x}' at 'environment' failed to satisfy constraint: Map keys must satisfy "
            "constraint: [Member must have length less than or equal to 512, Member must have length "
            "greater than or equal to 0, Member must satisfy regular expression pattern: "
            "[a-zA-Z_][a-zA-Z0-9_]*]"
        ),
    ),
    "a null in a list": (
        {"Tags": [None]},
        one("Value null at 'tags.1.member' failed to satisfy constraint: Member must not be null"),
    ),
    "a null in a map": (
        {"Environment": {"A": None}},
        one(
            "Value null at 'environment.A.member' failed to satisfy constraint: Member must not be null"
        ),
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_is_wrong_is_said_in_awss_words(case):
    change, text = TABLE[case]
    message = said(change)
    # The model may order or widen its rules; the words stay.
    assert message == text


def test_an_instance_type_that_does_not_exist_is_answered_with_all_that_do():
    message = said({"ResourceConfig": {"InstanceType": "local"}})
    shape = botocores("sagemaker").shape_for("TrainingInstanceType")
    assert message == one(
        "Value 'local' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must "
        f"satisfy enum value set: [{', '.join(shape.enum)}]"
    )


def test_secrets_are_not_repeated():
    message = said({"Environment": {"API_TOKEN": "hunter2", "OTHER": "x" * 600}})
    assert "hunter2" not in message
    assert "API_TOKEN=***" in message


def test_a_thousand_errors_are_not_all_told():
    message = said({"Tags": [{} for _ in range(1000)]})
    assert message.startswith("50 validation errors detected: ")
    assert len(message) < 10_000


def test_what_is_valid_passes():
    shape = ours("sagemaker").operations["CreateTrainingJob"].input
    assert shape is not None
    validate(parse_json(VALID | {"NoSuchMember": 1, "HyperParameters": {}}, shape), shape)


@pytest.mark.parametrize(
    "service", ["sagemaker", "logs", "iam", "sts", "ecr", "cloudwatch", "sagemaker-metrics"]
)
def test_no_pattern_of_the_model_can_be_made_to_run_long(service):
    model = botocores(service)
    shapes = [model.shape_for(name) for name in model.shape_names]
    texts = {shape.metadata["pattern"] for shape in shapes if "pattern" in shape.metadata}
    assert texts
    for text in texts:
        for unit in ("a", "-", "a-", "0", "a.", "a/", " ", "arn:aws:a:", "s3://"):
            began = time.perf_counter()
            pattern(text).matches((unit * 500)[:500] + "\u20ac!")
            assert time.perf_counter() - began < 20 * MATCH_SECONDS, text


def test_patterns_are_javas():
    assert not pattern(r"\d{2}").matches("٣٣")
    assert not pattern("[a-z]+$").matches("abc\n")
    assert pattern(r"[\p{L}]+").matches("äß")
    astral = r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*"
    assert pattern(astral).matches("a\U0001f600")
    assert not pattern(astral).matches("a\x00")

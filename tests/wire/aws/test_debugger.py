"""Real boto3 and SageMaker's debugger: rules that are asked for as on AWS judge, stop and are described."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from orchestrator import TrainingJob
from orchestrator.sdk.http import HttpTransport
from orchestrator.server import Server
from tests.e2e.conftest import eventually
from tests.wire.aws.running import ended, refused, training_job

pytestmark = [pytest.mark.e2e, pytest.mark.torch]

Client = Callable[..., Any]
EXPLODES = """
import time, torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e25)
for step in range(3000):
    loss = (model(torch.ones(8, 4)) ** 2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    if step > 20:
        time.sleep(0.05)
print("never stopped")
"""
HEALTHY = """
import torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(30):
    loss = ((model(torch.randn(8, 4)) - 1) ** 2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
"""
STOP = (
    '[{\\"name\\": \\"stoptraining\\"}, {\\"name\\": \\"email\\", \\"endpoint\\": \\"a@b.cc\\"}]'
)


@pytest.fixture
def sagemaker(aws: Client) -> Any:
    return aws("sagemaker")


@pytest.fixture
def bucket(aws: Client) -> str:
    name = f"b-{uuid.uuid4().hex[:12]}"
    aws("s3").create_bucket(Bucket=name)
    return name


def debugged(aws: Client, bucket: str, program: str, *rules: dict[str, Any], **more: Any) -> Any:
    """A request for a job that runs a program with rules."""
    name = f"job-{uuid.uuid4().hex[:8]}"
    aws("s3").put_object(Bucket=bucket, Key=f"{name}/train.py", Body=program.encode())
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{name}"}
    asked = training_job(name, bucket) | {
        "InputDataConfig": [{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
        "DebugHookConfig": {
            "S3OutputPath": f"s3://{bucket}/debug",
            "CollectionConfigurations": [
                {"CollectionName": "gradients", "CollectionParameters": {"save_interval": "5"}},
                {"CollectionName": "losses", "CollectionParameters": {"save_interval": "5"}},
            ],
        },
        "DebugRuleConfigurations": list(rules),
        **more,
    }
    asked["AlgorithmSpecification"] |= {
        "ContainerEntrypoint": ["python3"],
        "ContainerArguments": ["/opt/ml/input/data/code/train.py"],
    }
    return asked


def rule(name: str, to_invoke: str, **given: str) -> dict[str, Any]:
    return {
        "RuleConfigurationName": name,
        "RuleEvaluatorImage": "DEFAULT_RULE_EVALUATOR_IMAGE",
        "RuleParameters": {"rule_to_invoke": to_invoke, **given},
    }


def told(sagemaker: Any, name: str) -> str | None:
    """Return the details of a job's first rule once they say whom they were told, or not."""
    job = sagemaker.describe_training_job(TrainingJobName=name)
    details: str = job["DebugRuleEvaluationStatuses"][0]["StatusDetails"]
    return details if " told" in details else None


def test_a_rule_stops_a_job_and_its_description_says_why(
    sagemaker: Any, aws: Client, bucket: str
) -> None:
    asked = debugged(
        aws,
        bucket,
        EXPLODES,
        rule("Nan", "ExplodingTensor", action_json=STOP),
        rule("Quiet", "unchanged_weights"),
        ProfilerRuleConfigurations=[
            rule("Report", "ProfilerReport"),
            rule("Unknown", "NoSuchRule"),
        ],
        ProfilerConfig={"S3OutputPath": f"s3://{bucket}/profile"},
    )
    sagemaker.create_training_job(**asked)
    job = ended(sagemaker, asked["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Stopped"
    assert job["FailureReason"].startswith("RuleStop: Nan at step")
    nan, quiet = job["DebugRuleEvaluationStatuses"]
    assert nan["RuleConfigurationName"] == "Nan"
    assert nan["RuleEvaluationStatus"] == "IssuesFound"
    assert nan["StatusDetails"].startswith("step ")
    # Who tells is in no hurry to say that nobody can be told.
    said = eventually(lambda: told(sagemaker, asked["TrainingJobName"]))
    assert "mailto:a@b.cc was not told: ORCHESTRATOR_WEBHOOK_URL" in said
    assert ":processing-job/" in nan["RuleEvaluationJobArn"]
    assert job["CreationTime"] <= nan["LastModifiedTime"] <= job["LastModifiedTime"]
    assert quiet["RuleEvaluationStatus"] == "Stopped"
    _, unknown = job["ProfilerRuleEvaluationStatuses"]
    assert (unknown["RuleEvaluationStatus"], unknown["StatusDetails"]) == (
        "Error",
        "not evaluated: there is no rule 'NoSuchRule' here",
    )
    for member in ("DebugHookConfig", "DebugRuleConfigurations", "ProfilerRuleConfigurations"):
        assert job[member] == asked[member]
    kept = aws("s3").list_objects_v2(
        Bucket=bucket, Prefix=f"debug/{asked['TrainingJobName']}/debug-output/"
    )["Contents"]
    assert [each["Key"].endswith(".trace") for each in kept] == [True]


def test_a_healthy_job_has_no_issues_and_a_script_that_was_not_seen_is_in_error(
    sagemaker: Any, aws: Client, bucket: str
) -> None:
    healthy = debugged(aws, bucket, HEALTHY, rule("Nan", "non_finite"))
    unseen = debugged(aws, bucket, "print('no training here')", rule("Nan", "non_finite"))
    for asked in (healthy, unseen):
        sagemaker.create_training_job(**asked)
    (status,) = ended(sagemaker, healthy["TrainingJobName"])["DebugRuleEvaluationStatuses"]
    assert status["RuleEvaluationStatus"] == "NoIssuesFound"
    assert status["StatusDetails"] == "nothing found in 30 steps"
    (status,) = ended(sagemaker, unseen["TrainingJobName"])["DebugRuleEvaluationStatuses"]
    assert status["RuleEvaluationStatus"] == "Error"
    assert status["StatusDetails"].startswith("unmonitored: ")


def test_rules_that_are_not_here_are_refused(sagemaker: Any, aws: Client, bucket: str) -> None:
    asked = debugged(aws, bucket, HEALTHY, rule("Own", "MyOwnRule"))
    code, text = refused(sagemaker.create_training_job, **asked)
    assert code == "ValidationException"
    assert "'MyOwnRule' at 'debugRuleConfigurations.1.member.ruleParameters" in text
    names = [job["TrainingJobName"] for job in listed(sagemaker)]
    assert asked["TrainingJobName"] not in names


def listed(sagemaker: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sagemaker.list_training_jobs(MaxResults=100)[
        "TrainingJobSummaries"
    ]
    return found


def test_a_collection_of_the_users_is_found_by_its_name(
    sagemaker: Any, aws: Client, bucket: str, aws_server: Server
) -> None:
    asked = debugged(aws, bucket, HEALTHY)
    mine = {"include_regex": "gradient/weight,typo", "save_interval": "10", "end_step": "20"}
    asked["DebugHookConfig"]["CollectionConfigurations"] += [
        {"CollectionName": "mine", "CollectionParameters": mine}
    ]
    sagemaker.create_training_job(**asked)
    assert ended(sagemaker, asked["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    with closing(HttpTransport(aws_server.url, token=aws_server.token)) as transport:
        job = TrainingJob.get(asked["TrainingJobName"], transport)
        with closing(job.trial()) as trial:
            assert trial.tensor_names(collection="mine") == ["gradients/weight"]
            tensor = trial.tensor("gradients/weight")
            assert {step: each.shape for step, each in tensor.values().items()} == {
                0: (1, 4),
                10: (1, 4),
            }
            assert len(tensor.steps()) == 30, "the norm is recorded at each step all the same"
        assert any("'typo'" in note for note in job.findings().notes)

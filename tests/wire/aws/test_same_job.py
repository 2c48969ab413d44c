"""One job, whoever asked for it: boto3, our SDK, the command and the REST interface see the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from orchestrator import ModelTrainer, TrainingJob
from orchestrator.sdk.transport import Transport, connect
from orchestrator.server import Server
from tests.e2e.command import cli
from tests.wire.aws.running import ended, training_job

Client = Callable[..., Any]
PATIENT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("loss=0.5", flush=True)
signal.pause()
"""


@pytest.fixture
def transport(aws_server: Server) -> Iterator[Transport]:
    with closing(connect(aws_server.url, token=aws_server.token)) as made:
        yield made


@pytest.fixture
def command(aws_server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command against the service; return the document that it prints."""
    monkeypatch.setenv("ORCHESTRATOR_URL", aws_server.url)
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", aws_server.token)

    def run(*words: str) -> Any:
        done = cli(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_job_of_boto3_is_everybody_s(
    aws: Client, aws_server: Server, transport: Transport, command: Callable[..., Any]
) -> None:
    name = f"job-{uuid.uuid4().hex[:8]}"
    aws("s3").create_bucket(Bucket=name)
    request = training_job(name, name, "print('loss=0.5')", HyperParameters={"lr": "0.1"})
    aws("sagemaker").create_training_job(**request)
    answer = ended(aws("sagemaker"), name)

    job = TrainingJob.get(name, transport)
    assert (job.status, job.record.arn) == ("Completed", answer["TrainingJobArn"])
    assert list(job.logs()) == ["loss=0.5"]
    assert job.result().metrics == {"loss": 0.5}
    assert name in {each.name for each in TrainingJob.list(transport)}
    described = command("describe", name)
    assert described["spec"]["training_job_name"] == name
    headers = {"Authorization": f"Bearer {aws_server.token}"}
    rest = httpx.get(f"{aws_server.url}/api/v1/training-jobs/{name}", headers=headers).json()
    assert rest["spec"]["hyper_parameters"] == {"lr": "0.1"}
    assert rest["spec"]["create_request"] is None  # it may hold secrets; the rest says the same


def test_a_job_of_our_sdk_is_boto3_s(aws: Client, transport: Transport, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(PATIENT)
    trainer = ModelTrainer(
        source_code=str(script),
        transport=transport,
        hyperparameters={"lr": 0.1},
        metric_definitions=[{"Name": "loss", "Regex": "loss=(.*)"}],
    )
    job = trainer.train(wait=False)
    sagemaker = aws("sagemaker")
    answer = sagemaker.describe_training_job(TrainingJobName=job.name)
    assert answer["TrainingJobArn"] == job.record.arn
    assert answer["HyperParameters"] == {"lr": "0.1"}
    listed = sagemaker.list_training_jobs(NameContains=job.name)["TrainingJobSummaries"]
    assert [each["TrainingJobName"] for each in listed] == [job.name]
    assert next(iter(job.logs(follow=True))) == "loss=0.5"
    sagemaker.stop_training_job(TrainingJobName=job.name)
    assert ended(sagemaker, job.name)["TrainingJobStatus"] == "Stopped"
    assert job.refresh().status == "Stopped"
    page = aws("logs").filter_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{job.name}/"
    )
    assert [event["message"] for event in page["events"]] == ["loss=0.5"]
    sagemaker.delete_training_job(TrainingJobName=job.name)
    with pytest.raises(ClientError, match="Requested resource not found"):
        sagemaker.describe_training_job(TrainingJobName=job.name)


def test_a_stop_and_tags_of_one_are_seen_by_the_other(
    aws: Client, transport: Transport, command: Callable[..., Any]
) -> None:
    name = f"job-{uuid.uuid4().hex[:8]}"
    aws("s3").create_bucket(Bucket=name)
    sagemaker = aws("sagemaker")
    sagemaker.create_training_job(**training_job(name, name, "; ".join(PATIENT.split("\n")[1:-1])))
    assert next(iter(TrainingJob.get(name, transport).logs(follow=True))) == "loss=0.5"
    command("stop", name)
    answer = ended(sagemaker, name)
    assert (answer["TrainingJobStatus"], answer["SecondaryStatus"]) == ("Stopped", "Stopped")

"""Training jobs, their logs and their objects by the real aws command, with what ``orchestrator env`` prints only."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import aws_environment
from orchestrator.server import Server
from tests.wire.place import PATH, Place

pytestmark = [pytest.mark.awscli, pytest.mark.timeout(180)]
GROUP = "/aws/sagemaker/TrainingJobs"
IMAGE = "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.8.0-cpu-py312"
Aws = Callable[..., str]


def command_of(command: Path, server: Server, folder: Path) -> Aws:
    """Return what runs the command with words and returns its output; it must succeed."""
    variables = aws_environment.variables(server.service.home, server.url)

    def aws(*words: str) -> str:
        done = subprocess.run(
            [command, *words],
            env={"HOME": str(folder), "PATH": PATH, **variables},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    return aws


def test_objects_are_copied_synced_listed_and_removed(
    aws_command: Path, aws_server: Server, tmp_path: Path
) -> None:
    aws = command_of(aws_command, aws_server, tmp_path)
    for name in ("a.csv", "deep/er/b.csv"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name, encoding="utf-8")
    aws("s3", "mb", "s3://by-command")
    aws("s3", "cp", "--recursive", "data", "s3://by-command/data")
    (tmp_path / "data" / "c.csv").write_text("c", encoding="utf-8")
    synced = aws("s3", "sync", "data", "s3://by-command/data")
    assert synced.count("upload: ") == 1  # what is there already is left alone
    listed = aws("s3", "ls", "--recursive", "s3://by-command")
    assert [line.split()[-1] for line in listed.splitlines()] == [
        "data/a.csv",
        "data/c.csv",
        "data/deep/er/b.csv",
    ]
    aws("s3", "sync", "s3://by-command/data", "back")
    assert (tmp_path / "back" / "deep" / "er" / "b.csv").read_text("utf-8") == "deep/er/b.csv"
    aws("s3", "rm", "--recursive", "s3://by-command/data")
    assert aws("s3", "ls", "--recursive", "s3://by-command") == ""


def request(name: str, program: str) -> str:
    """The JSON of a request for a job that runs a Python text."""
    return json.dumps(
        {
            "TrainingJobName": name,
            "RoleArn": "arn:aws:iam::000000000000:role/orchestrator",
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python3", "-c"],
                "ContainerArguments": [program],
            },
            "OutputDataConfig": {"S3OutputPath": "s3://by-command-jobs/out"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 100},
            "Tags": [{"Key": "team", "Value": "vision"}],
        }
    )


PATIENT = (
    "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); "
    "print('now training', flush=True); signal.pause()"
)


def test_jobs_run_are_stopped_and_read(aws_command: Path, place: Place, tmp_path: Path) -> None:
    aws = command_of(aws_command, place.server, tmp_path)

    def asked(*words: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(aws(*words))
        return answer

    aws("s3", "mb", "s3://by-command-jobs")
    create = ("sagemaker", "create-training-job", "--cli-input-json")
    arn = asked(*create, request("command-done", "print('loss 1'); print('loss 2')"))
    aws(*create, request("command-stopped", PATIENT))
    done = ("--training-job-name", "command-done")
    stopped = ("--training-job-name", "command-stopped")
    tags = asked("sagemaker", "list-tags", "--resource-arn", arn["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "vision"}]
    events = ("logs", "filter-log-events", "--log-group-name", GROUP, "--log-stream-name-prefix")
    while not asked(*events, "command-stopped/")["events"]:
        job = asked("sagemaker", "describe-training-job", *stopped)
        assert job["TrainingJobStatus"] == "InProgress", job
    aws("sagemaker", "stop-training-job", *stopped)
    statuses = {}
    for words in (done, stopped):
        status = "InProgress"
        while status in {"InProgress", "Stopping"}:  # `wait` looks every two minutes only
            status = asked("sagemaker", "describe-training-job", *words)["TrainingJobStatus"]
        statuses[words[1]] = status
    assert statuses == {"command-done": "Completed", "command-stopped": "Stopped"}
    aws("sagemaker", "wait", "training-job-completed-or-stopped", *done)
    listed = asked("sagemaker", "list-training-jobs", "--name-contains", "command-")
    assert {job["TrainingJobName"] for job in listed["TrainingJobSummaries"]} == set(statuses)
    streams = asked(
        "logs", "describe-log-streams", "--log-group-name", GROUP,
        "--log-stream-name-prefix", "command-done/",
    )["logStreams"]  # fmt: skip
    read = asked(
        "logs", "get-log-events", "--log-group-name", GROUP,
        "--log-stream-name", streams[0]["logStreamName"], "--start-from-head",
    )["events"]  # fmt: skip
    assert [event["message"] for event in read] == ["loss 1", "loss 2"]

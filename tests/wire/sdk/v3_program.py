"""A user of the SageMaker SDK v3: trains, waits, reads logs, stops, looks jobs up, and deletes them.

Run as ``v3_program.py ANSWER CODE DATA [hosts]``: what was seen is written to ANSWER as JSON; with
``hosts`` there is a job of two of them, too.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Tag, TrainingJob
from sagemaker.core.utils.exceptions import FailedStatusError
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import (
    CheckpointConfig,
    Compute,
    InputData,
    MetricDefinition,
    Networking,
    SourceCode,
)
from sagemaker.train.configs import Tag as TagConfig
from sagemaker.train.distributed import Torchrun

IMAGE = "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.8.0-cpu-py312"
ANSWER, CODE, DATA = sys.argv[1:4]
OF_ALL_KINDS = {
    "text": "plain words",
    "number": 0.25,
    "whole": 3,
    "flag": True,
    "nothing": None,
    "list": [1, "two"],
    "object": {"a": {"b": 1}},
}


class Lines(logging.Handler):
    """Keeps what the SDK logs of jobs; calls what waits for a line while its job still runs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.on_line: dict[str, Callable[[], None]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self.lines.append(text)
        for words in [words for words in self.on_line if words in text]:
            self.on_line.pop(words)()

    def of(self, job: TrainingJob) -> list[str]:
        """Return the lines that a job printed."""
        name = job.training_job_name
        printed = (line.partition("\n") for line in self.lines if line.startswith(f"{name}/"))
        return [text for _, _, text in printed]


logging.basicConfig(level=logging.INFO)
LINES = Lines()
logging.getLogger("sagemaker.core.resources").addHandler(LINES)


def trainer(name: str, script: str, **more: Any) -> ModelTrainer:
    requirements = more.pop("requirements", None)
    source = SourceCode(source_dir=CODE, entry_script=script, requirements=requirements)
    return ModelTrainer(
        training_image=IMAGE,
        source_code=source,
        compute=Compute(instance_type="ml.m5.xlarge", instance_count=more.pop("hosts", 1)),
        base_job_name=name,
        **more,
    )


def started(made: ModelTrainer) -> TrainingJob:
    made.train(wait=False, logs=False)
    return job_of(made)


def job_of(made: ModelTrainer) -> TrainingJob:
    job = made._latest_training_job
    assert job is not None
    return job


def trained() -> tuple[TrainingJob, dict[str, Any]]:
    """Everything that one call of train() can carry."""
    session = Session()
    uploaded = session.upload_data(DATA, key_prefix="uploaded/test")
    made = trainer(
        "trained",
        "train.py",
        requirements="requirements.txt",
        role="orchestrator",
        hyperparameters=OF_ALL_KINDS,
        environment={"GREETING": "hello there"},
        checkpoint_config=CheckpointConfig(
            s3_uri=f"s3://{session.default_bucket()}/checkpoints/trained"
        ),
        tags=[TagConfig(key="team", value="vision")],
    )
    made.with_metric_definitions([MetricDefinition(name="loss", regex="loss=(.*?);")])
    made.train(
        input_data_config=[
            InputData(channel_name="train", data_source=DATA),
            InputData(channel_name="test", data_source=uploaded),
        ],
        wait=True,
        logs=True,
    )
    job = job_of(made)
    return job, {
        "status": job.training_job_status,
        "role": job.role_arn,
        "model": job.model_artifacts.s3_model_artifacts,
        "output": made.output_data if hasattr(made, "output_data") else None,
        "metrics": [(each.metric_name, each.value) for each in job.final_metric_data_list],
        "steps": [each.status for each in job.secondary_status_transitions],
        "checkpoints": job.checkpoint_config.s3_uri,
        "log": LINES.of(job),
    }


def failed(job: TrainingJob) -> dict[str, Any]:
    try:
        job.wait(poll=1, logs=True)
    except FailedStatusError as error:
        return {"error": str(error), "log": LINES.of(job)}
    return {"error": None}


def stopped() -> dict[str, Any]:
    """Stop a job when its first line is seen: it would train for ever if lines came at its end."""
    made = trainer("stopped", "patient.py")
    job = started(made)
    LINES.on_line["now training"] = job.stop
    job.wait(poll=1, logs=True)
    return {
        "status": job.training_job_status,
        "secondary": job.secondary_status,
        "model": job.model_artifacts.s3_model_artifacts,
        "log": LINES.of(job),
    }


def waited(job: TrainingJob) -> dict[str, Any]:
    job.wait(poll=1, logs=True)
    return {
        "status": job.training_job_status,
        "model": job.model_artifacts.s3_model_artifacts,
        "log": LINES.of(job),
    }


def looked_up(job: TrainingJob, bad: TrainingJob) -> dict[str, Any]:
    """Get, list, tag and delete jobs by the SDK's resources, and wait with boto3's waiter."""
    same = TrainingJob.get(training_job_name=job.training_job_name)
    same.refresh()
    tags = {"before": [(tag.key, tag.value) for tag in Tag.get_all(same.training_job_arn)]}
    Tag.add_tags(resource_arn=same.training_job_arn, tags=[{"key": "kept", "value": "yes"}])
    Tag.delete_tags(resource_arn=same.training_job_arn, tag_keys=["team"])
    tags["after"] = [(tag.key, tag.value) for tag in Tag.get_all(same.training_job_arn)]
    client = boto3.client("sagemaker")
    client.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName=job.training_job_name, WaiterConfig={"Delay": 1}
    )
    pages = client.get_paginator("list_training_jobs").paginate(PaginationConfig={"PageSize": 1})
    failures = TrainingJob.get_all(status_equals="Failed", sort_by="Name")
    found = {
        "tags": tags,
        "status": same.training_job_status,
        "failed": bad.training_job_name in {each.training_job_name for each in failures},
        "paged": [
            one["TrainingJobName"] for page in pages for one in page["TrainingJobSummaries"]
        ],
    }
    same.delete()
    same.wait_for_delete(poll=1)
    left = TrainingJob.get_all(name_contains=job.training_job_name)
    return {**found, "left": [each.training_job_name for each in left]}


def main() -> None:
    isolated = Networking(enable_network_isolation=True)
    two = Torchrun(process_count_per_node=2)
    ranks = started(trainer("ranks", "ranks.py", distributed=two, networking=isolated))
    hosts = None
    if "hosts" in sys.argv[4:]:
        one = Torchrun(process_count_per_node=1)
        hosts = started(trainer("hosts", "ranks.py", distributed=one, hosts=2))
    bad = started(trainer("failing", "failing.py"))
    job, answer = trained()
    found = {
        "trained": answer,
        "failed": failed(bad),
        "ranks": waited(ranks),
        "hosts": None if hosts is None else waited(hosts),
        "stopped": stopped(),
        "looked_up": looked_up(job, bad),
    }
    Path(ANSWER).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

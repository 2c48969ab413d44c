"""A user of the SageMaker SDK v3 who tunes: ten training jobs, two at once, bad ones end early.

Run as ``v3_tuner_program.py ANSWER CODE DATA``: what was seen is written to ANSWER as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter
from sagemaker.core.resources import HyperParameterTuningJob, TrainingJob
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode
from sagemaker.train.tuner import HyperparameterTuner

IMAGE = "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.8.0-cpu-py312"
ANSWER, CODE, DATA = sys.argv[1:4]


def tuner(**more: Any) -> HyperparameterTuner:
    trainer = ModelTrainer(
        training_image=IMAGE,
        source_code=SourceCode(source_dir=CODE, entry_script="tuned.py"),
        compute=Compute(instance_type="ml.m5.xlarge", instance_count=1),
        base_job_name="tuned",
        role="orchestrator",
        hyperparameters={"epochs": 3},
    )
    return HyperparameterTuner(
        model_trainer=trainer,
        objective_metric_name="loss",
        hyperparameter_ranges={
            "x": ContinuousParameter(0, 1),
            "kind": CategoricalParameter(["good", "bad"]),
        },
        metric_definitions=[{"Name": "loss", "Regex": "loss=(.*?);"}],
        objective_type="Minimize",
        **{"max_jobs": 10, "max_parallel_jobs": 2, **more},
    )


def inputs() -> list[InputData]:
    """The tuner uploads nothing itself, unlike a trainer."""
    uploaded = Session().upload_data(DATA, key_prefix="uploaded/train")
    return [InputData(channel_name="train", data_source=uploaded)]


def tuned() -> dict[str, Any]:
    """The whole way, as the SDK's own documentation has it."""
    made = tuner(strategy="Bayesian", early_stopping_type="Auto", random_seed=1)
    made.tune(inputs=inputs(), wait=True)
    name = made.latest_tuning_job.hyper_parameter_tuning_job_name
    best = made.best_training_job()
    job = TrainingJob.get(training_job_name=best)
    table = made.analytics().dataframe()
    client = boto3.client("sagemaker")
    said = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    pages = client.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name, PaginationConfig={"PageSize": 3}
    )
    listed = [one for page in pages for one in page["TrainingJobSummaries"]]
    return {
        "status": said["HyperParameterTuningJobStatus"],
        "counters": said["TrainingJobStatusCounters"],
        "objectives": said["ObjectiveStatusCounters"],
        "best": best,
        "best_value": said["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"],
        "best_values": said["BestTrainingJob"]["TunedHyperParameters"],
        "job": {
            "status": job.training_job_status,
            "tuning_job": job.tuning_job_arn,
            "hyper_parameters": job.hyper_parameters,
            "model": job.model_artifacts.s3_model_artifacts,
        },
        "arn": said["HyperParameterTuningJobArn"],
        "config": said["HyperParameterTuningJobConfig"],
        "columns": sorted(table.columns),
        "rows": json.loads(table.to_json(orient="records")),
        "ranges": made.analytics().tuning_ranges,
        "listed": [one["TrainingJobName"] for one in listed],
    }


def stopped() -> dict[str, Any]:
    made = tuner(strategy="Random", max_jobs=500, max_parallel_jobs=2)
    # The SDK's own names change once a minute.
    made.tune(inputs=inputs(), job_name="stopped-by-hand", wait=False)
    made.stop_tuning_job()
    job = made.latest_tuning_job
    job.wait(poll=1)
    found = [each.hyper_parameter_tuning_job_name for each in HyperParameterTuningJob.get_all()]
    name = job.hyper_parameter_tuning_job_name
    return {
        "status": job.hyper_parameter_tuning_job_status,
        "is_listed": name in found,
    }


def main() -> None:
    found = {"tuned": tuned(), "stopped": stopped()}
    Path(ANSWER).write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()

"""A user of the SageMaker SDK v2: estimators of all kinds, their jobs attached to, stopped, and analysed.

Run as ``v2_program.py ANSWER CODE DATA LIBRARY``: what was seen is written to ANSWER as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import sagemaker
from botocore.exceptions import ClientError
from sagemaker.debugger import (
    CollectionConfig,
    DebuggerHookConfig,
    ProfilerRule,
    Rule,
    rule_configs,
)
from sagemaker.estimator import Estimator
from sagemaker.exceptions import UnexpectedStatusException
from sagemaker.huggingface import HuggingFace
from sagemaker.inputs import TrainingInput
from sagemaker.pytorch import PyTorch
from sagemaker.tensorflow import TensorFlow

ANSWER, CODE, DATA, LIBRARY = sys.argv[1:5]
SESSION = sagemaker.Session()
ROLE = "orchestrator"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
COMMON: dict[str, Any] = {
    "role": ROLE,
    "source_dir": CODE,
    "instance_type": "ml.m5.xlarge",
    "instance_count": 1,
    "sagemaker_session": SESSION,
}
PYTORCH: dict[str, Any] = {**COMMON, "framework_version": "2.8.0", "py_version": "py312"}


def await_line(name: str, words: str) -> None:
    """Wait until a running job has printed something; ``fit`` itself looks every ten seconds."""
    logs = SESSION.boto_session.client("logs")
    wanted = {"logGroupName": LOG_GROUP, "logStreamNamePrefix": f"{name}/"}
    while not any(words in each["message"] for each in logs.filter_log_events(**wanted)["events"]):
        assert SESSION.describe_training_job(name)["TrainingJobStatus"] == "InProgress"


def named(estimator: Any) -> str:
    name: str = estimator.latest_training_job.name
    return name


def trained(data: str) -> PyTorch:
    estimator = PyTorch(
        entry_point="script_mode.py",
        dependencies=[f"{LIBRARY}/a_dependency.py"],
        hyperparameters={"epochs": 3, "lr": 0.1, "flag": True},
        environment={"GREETING": "hello there"},
        metric_definitions=[{"Name": "loss", "Regex": "loss=(.*?);"}],
        base_job_name="trained",
        checkpoint_s3_uri=f"s3://{SESSION.default_bucket()}/checkpoints/v2",
        tags=[{"Key": "team", "Value": "vision"}],
        **PYTORCH,
    )
    estimator.fit({"train": TrainingInput(data, content_type="text/csv")}, wait=False)
    return estimator


def analysed(estimator: PyTorch) -> dict[str, Any]:
    """Attach to a job as another program would, and read its curve."""
    name = named(estimator)
    SESSION.wait_for_job(name, poll=1)
    attached = PyTorch.attach(name, sagemaker_session=SESSION)
    frame = sagemaker.TrainingJobAnalytics(name, ["loss"], sagemaker_session=SESSION).dataframe()
    return {
        "status": attached.latest_training_job.describe()["TrainingJobStatus"],
        "image": attached.training_image_uri(),
        "model": attached.model_data,
        "hyperparameters": attached.hyperparameters()["epochs"],
        "columns": list(frame.columns),
        "values": list(frame["value"]),
    }


def failed(estimator: PyTorch) -> dict[str, Any]:
    try:
        SESSION.wait_for_job(named(estimator), poll=1)
    except UnexpectedStatusException as error:
        return {"error": str(error), "status": error.actual_status}
    return {"error": None}


def stopped(estimator: PyTorch) -> dict[str, Any]:
    """Stop a job whose first line was seen while it runs."""
    name = named(estimator)
    await_line(name, "now training")
    SESSION.stop_training_job(name)
    found = SESSION.wait_for_job(name, poll=1)
    return {"status": found["TrainingJobStatus"], "model": estimator.model_data}


def finished(estimator: Any) -> dict[str, Any]:
    SESSION.wait_for_job(named(estimator), poll=1)
    return {"model": estimator.model_data, "image": estimator.training_image_uri()}


def debugged() -> PyTorch:
    """Rules as the SDK's own documentation asks for them; the first one stops the job."""
    stop = rule_configs.ActionList(rule_configs.StopTraining())
    saved = CollectionConfig("gradients", {"save_interval": "2"})
    return started(
        PyTorch,
        "exploding.py",
        rules=[
            Rule.sagemaker(rule_configs.exploding_tensor(), actions=stop),
            Rule.sagemaker(
                rule_configs.vanishing_gradient(), rule_parameters={"threshold": "1e-30"}
            ),
            ProfilerRule.sagemaker(rule_configs.ProfilerReport()),
        ],
        debugger_hook_config=DebuggerHookConfig(collection_configs=[saved]),
    )


def judged(estimator: PyTorch) -> dict[str, Any]:
    """How the rules of a job stand, which its estimator tells."""
    try:
        SESSION.wait_for_job(named(estimator), poll=1)
    except UnexpectedStatusException as error:
        return {"error": str(error)}
    found = estimator.latest_training_job.describe()
    return {
        "status": found["TrainingJobStatus"],
        "why": found["FailureReason"],
        "hook": found["DebugHookConfig"],
        "rules": {
            each["RuleConfigurationName"]: each["RuleEvaluationStatus"]
            for each in estimator.latest_training_job.rule_job_summary()
        },
    }


def own_container(image: str) -> Any:
    """An image of one's own, whose program is called ``train``."""
    estimator = Estimator(
        image_uri=image,
        role=None,  # that of the SDK's defaults file
        instance_type="ml.m5.xlarge",
        instance_count=1,
        hyperparameters={"depth": 3},
        sagemaker_session=SESSION,
    )
    try:
        estimator.fit(wait=False)
    except ClientError as error:
        return str(error)
    return estimator


def started(kind: type[Any], script: str, **more: Any) -> Any:
    settings = {**(PYTORCH if kind is PyTorch else COMMON), **more}
    estimator = kind(entry_point=script, base_job_name=script[:-3], **settings)
    estimator.fit(wait=False)
    return estimator


def main() -> None:
    torchrun = {"torch_distributed": {"enabled": True}}
    mirrored = {"multi_worker_mirrored_strategy": {"enabled": True}}
    gpus: dict[str, Any] = {"instance_type": "ml.g5.xlarge", "instance_count": 2}
    ranks = started(PyTorch, "ranks.py", distribution=torchrun, **gpus)
    training = trained(SESSION.upload_data(DATA, key_prefix="v2/data"))
    failing = started(PyTorch, "failing.py")
    patient = started(PyTorch, "patient.py")
    tensorflow = started(
        TensorFlow,
        "frameworks.py",
        framework_version="2.19.0",
        py_version="py312",
        distribution=mirrored,
    )
    huggingface = started(
        HuggingFace,
        "frameworks.py",
        transformers_version="4.56.2",
        pytorch_version="2.8.0",
        py_version="py312",
        instance_type="ml.g5.xlarge",
        hyperparameters={"model_name": "none"},
    )
    watched = debugged()
    own = own_container("orchestrator-test/classic:latest")
    found = {
        "trained": analysed(training),
        "failed": failed(failing),
        "stopped": stopped(patient),
        "ranks": finished(ranks),
        "tensorflow": finished(tensorflow),
        "huggingface": finished(huggingface),
        "debugged": judged(watched),
        "own": {"refused": own} if isinstance(own, str) else finished(own),
    }
    Path(ANSWER).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

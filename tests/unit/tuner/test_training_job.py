"""What is submitted for one training job of a tuning job."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.spec.job import CheckpointConfig, TrainingJobSpec
from orchestrator.spec.tuned import TunedJob
from orchestrator.spec.tuning import Asha, TrainingJobDefinition
from orchestrator.testing.store_jobs import START, make_spec
from orchestrator.tuner.training_job import job_spec
from tests.unit.tuner.world import RATE, tuning_spec


def submitted(
    config: CheckpointConfig | None = None, *, first: str = "t-001", **changes: Any
) -> TrainingJobSpec:
    """What is submitted for t-004, which goes on with what ``first`` began."""
    template = make_spec("x", hyper_parameters={"n_epochs": "9"}, checkpoint_config=config)
    definition = TrainingJobDefinition(job=template, parameters=(RATE,))
    job = TunedJob(
        index=4,
        definition_name=definition.definition_name,
        values={"rate": "0.5"},
        job_name="t-004",
        created_at=START,
        **changes,
    )
    spec = tuning_spec(definitions=(definition,), asha=Asha(promote=True))
    return job_spec(spec, job, first, lambda name: f"/home/jobs/{name}/checkpoints")


def test_its_values_and_the_epochs_of_its_level():
    assert submitted(resource=3).hyper_parameters == {"n_epochs": "3", "rate": "0.5"}
    assert submitted().hyper_parameters == {"n_epochs": "9", "rate": "0.5"}
    assert submitted().training_job_name == "t-004"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s3://bucket/kept", "s3://bucket/kept/t-001"),
        ("s3://bucket/kept/", "s3://bucket/kept/t-001"),
        ("file:///kept", "file:///kept/t-001"),
        ("file:///", "file:///t-001"),
        ("/kept", "/kept/t-001"),
    ],
)
def test_checkpoints_have_a_place_of_the_configuration(place: str, expected: str) -> None:
    config = CheckpointConfig(s3_uri=place, local_path="/opt/ml/mine")
    assert submitted(config).checkpoint_config == CheckpointConfig(
        s3_uri=expected, local_path="/opt/ml/mine"
    )


@pytest.mark.parametrize("config", [None, CheckpointConfig(local_path="/opt/ml/mine")])
def test_without_a_place_those_of_the_first_one_are_used(config: CheckpointConfig | None) -> None:
    assert submitted(config, first="t-004").checkpoint_config == config, "its own are the first"
    kept = submitted(config).checkpoint_config
    assert kept is not None
    assert kept.s3_uri == "/home/jobs/t-001/checkpoints"
    assert kept.local_path == (config or CheckpointConfig()).local_path

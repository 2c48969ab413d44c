"""The real SageMaker SDK v2, unchanged: estimators in script mode, and an image of one's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.wire.place import Place, Program

pytestmark = [pytest.mark.sagemaker2, pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def seen(programs: dict[str, Program]) -> dict[str, Any]:
    """What one run of the program saw."""
    return programs["v2"].answer()


def test_a_script_is_given_all_that_was_asked(place: Place, seen: dict[str, Any]) -> None:
    job = seen["trained"]
    assert job["status"] == "Completed"
    found = json.loads(place.packed(job["model"])["seen.json"])
    assert found["arguments"] == {"epochs": 3, "lr": 0.1, "flag": "true"}
    assert found["hyperparameters"] == {"epochs": 3, "lr": 0.1, "flag": True}
    assert found["train"] == ["a.csv", "b.csv"]
    assert found["packages"] == ["a dependency", "from a wheel"]
    assert found["environment"] == "hello there"


def test_its_job_is_attached_to_and_analysed(seen: dict[str, Any]) -> None:
    job = seen["trained"]
    assert job["image"].endswith(
        ".dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8.0-cpu-py312"
    )
    assert json.loads(job["hyperparameters"]) in (3, "3")
    assert job["columns"] == ["timestamp", "metric_name", "value"]
    assert job["values"]


def test_a_failing_script_raises_with_its_own_exception(seen: dict[str, Any]) -> None:
    assert seen["failed"]["status"] == "Failed"
    assert "the loss exploded at step 7" in seen["failed"]["error"]


def test_stop_reaches_the_script_and_its_model_is_kept(place: Place, seen: dict[str, Any]) -> None:
    job = seen["stopped"]
    assert job["status"] == "Stopped"
    assert place.packed(job["model"]) == {"weights.json": b"saved when stopped"}


def test_torch_distributed_starts_ranks_on_all_hosts(place: Place, seen: dict[str, Any]) -> None:
    found = json.loads(place.packed(seen["ranks"]["model"])["ranks.json"])
    assert (found["sum"], found["world"]) == (2.0, 2)  # a rank per GPU, one where there is none
    assert found["hosts"] == ["algo-1", "algo-2"]


def test_frameworks_run_where_the_image_map_says(place: Place, seen: dict[str, Any]) -> None:
    tensorflow = json.loads(place.packed(seen["tensorflow"]["model"])["found.json"])
    huggingface = json.loads(place.packed(seen["huggingface"]["model"])["found.json"])
    assert "/tensorflow-training:" in seen["tensorflow"]["image"]
    assert "/huggingface-pytorch-training:" in seen["huggingface"]["image"]
    (worker,) = tensorflow["workers"]["worker"]
    assert worker.startswith("algo-1:")
    assert huggingface["torch"]
    assert huggingface["arguments"] == ["--model_name", "none"]
    assert tensorflow["tensorflow"] is (place.backend == "docker")


def test_rules_judge_and_stop_as_the_sdk_asks(seen: dict[str, Any]) -> None:
    job = seen["debugged"]
    assert job["status"] == "Stopped"
    assert job["why"].startswith("RuleStop: ExplodingTensor at step")
    assert job["rules"]["ExplodingTensor"] == "IssuesFound"
    assert set(job["rules"]) >= {"ExplodingTensor", "VanishingGradient"}
    assert job["hook"]["CollectionConfigurations"]


def test_an_image_of_ones_own_is_started_with_train(place: Place, seen: dict[str, Any]) -> None:
    own = seen["own"]
    if place.backend == "process":
        assert "ValidationException" in own["refused"]
        assert "'orchestrator-test/classic:latest'" in own["refused"]
        return
    assert place.packed(own["model"]) == {"depth": b"3"}

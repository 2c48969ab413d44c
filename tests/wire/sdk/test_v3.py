"""The real SageMaker SDK v3, unchanged: ModelTrainer and the resources behind it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.wire.place import Place, Program

pytestmark = [pytest.mark.sagemaker3, pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def seen(programs: dict[str, Program]) -> dict[str, Any]:
    """What one run of the program saw."""
    return programs["v3"].answer()


def test_a_job_completes_with_its_model_and_metrics(place: Place, seen: dict[str, Any]) -> None:
    job = seen["trained"]
    assert job["status"] == "Completed"
    assert place.packed(job["model"]) == {"weights.json": b"[1, 2, 3]"}
    (metric,) = job["metrics"]
    assert metric == ["loss", pytest.approx(1 / 3)]
    assert job["steps"][-3:] == ["Training", "Uploading", "Completed"]
    assert [line for line in job["log"] if "loss=" in line and "print" not in line]
    kept = place.server.service.blobs.exists(f"{job['checkpoints']}/step-3")
    assert kept


def test_its_script_is_given_all_that_was_asked(place: Place, seen: dict[str, Any]) -> None:
    output = seen["trained"]["model"].replace("model.tar.gz", "output.tar.gz")
    found = json.loads(place.packed(output)["seen.json"])
    assert found["hyperparameters"] == {
        "text": "plain words",
        "number": 0.25,
        "whole": 3,
        "flag": True,
        "nothing": None,
        "list": [1, "two"],
        "object": {"a": {"b": 1}},
    }
    assert found["channels"] == {"train": ["a.csv", "b.csv"], "test": ["a.csv", "b.csv"]}
    assert found["greeting"] == "hello there"
    assert found["package"] == "from a wheel"
    assert found["hosts"] == ["algo-1"]
    assert found["arguments"][:4] == ["--text", "plain words", "--number", "0.25"]


def test_a_failing_script_raises_with_its_own_exception(seen: dict[str, Any]) -> None:
    assert "the loss exploded at step 7" in seen["failed"]["error"]
    assert any("ValueError" in line for line in seen["failed"]["log"])


def test_stop_reaches_the_script_and_its_model_is_kept(place: Place, seen: dict[str, Any]) -> None:
    job = seen["stopped"]
    assert (job["status"], job["secondary"]) == ("Stopped", "Stopped")
    assert "saved when stopped" in job["log"]
    assert place.packed(job["model"]) == {"weights.json": b"saved when stopped"}


def test_torchrun_runs_without_a_network(place: Place, seen: dict[str, Any]) -> None:
    job = seen["ranks"]
    assert job["status"] == "Completed", job["log"]
    found = json.loads(place.packed(job["model"])["ranks.json"])
    assert found == {"sum": 2.0, "world": 2, "outside": False, "hosts": ["algo-1"]}


@pytest.mark.slow
def test_torchrun_spans_two_hosts(place: Place, seen: dict[str, Any]) -> None:
    job = seen["hosts"]
    found = json.loads(place.packed(job["model"])["ranks.json"])
    assert (found["sum"], found["world"]) == (2.0, 2)
    assert found["hosts"] == ["algo-1", "algo-2"]
    assert {line for line in job["log"] if line.startswith("rank ")} >= {
        "rank 0 of 2",
        "rank 1 of 2",
    }


def test_jobs_are_found_tagged_and_deleted(seen: dict[str, Any]) -> None:
    found = seen["looked_up"]
    assert found["status"] == "Completed"
    assert found["tags"] == {"before": [["team", "vision"]], "after": [["kept", "yes"]]}
    assert found["failed"]
    kinds = {name.partition("-")[0] for name in found["paged"]}
    assert kinds >= {"failing", "ranks", "stopped", "trained"}
    assert found["left"] == []

"""The real SageMaker SDK v3, unchanged: HyperparameterTuner to its best training job and its table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.place import Place, Program

pytestmark = [pytest.mark.sagemaker3, pytest.mark.e2e, pytest.mark.timeout(300)]

SDK_S = {
    "TrainingJobName",
    "TrainingJobStatus",
    "FinalObjectiveValue",
    "TrainingStartTime",
    "TrainingEndTime",
    "TrainingElapsedTimeSeconds",
}


@pytest.fixture(scope="session")
def seen(programs: dict[str, Program]) -> dict[str, Any]:
    """What one run of the program saw."""
    return programs["v3_tuner"].answer()


def test_ten_training_jobs_and_the_best_of_them(seen: dict[str, Any]) -> None:
    tuned = seen["tuned"]
    assert tuned["status"] == "Completed"
    counters = tuned["counters"]
    assert counters["Completed"] + counters["Stopped"] == 10
    assert (counters["InProgress"], counters["NonRetryableError"]) == (0, 0)
    assert tuned["objectives"] == {"Succeeded": 10, "Pending": 0, "Failed": 0}
    assert tuned["best_values"]["kind"] == "good"
    assert tuned["best_value"]["MetricName"] == "loss"
    rows = tuned["rows"]
    assert tuned["best_value"]["Value"] == min(row["FinalObjectiveValue"] for row in rows)


def test_training_jobs_that_are_worse_than_the_median_end_early(seen: dict[str, Any]) -> None:
    bad = [row for row in seen["tuned"]["rows"] if row["kind"] == "bad"]
    stopped = [row for row in seen["tuned"]["rows"] if row["TrainingJobStatus"] == "Stopped"]
    assert all(row in bad or row["FinalObjectiveValue"] > 0.1 for row in stopped)


def test_the_best_training_job_says_what_it_is(place: Place, seen: dict[str, Any]) -> None:
    tuned = seen["tuned"]
    job = tuned["job"]
    assert job["status"] == "Completed"
    assert job["tuning_job"] == tuned["arn"]
    assert job["hyper_parameters"]["x"] == tuned["best_values"]["x"]
    assert job["hyper_parameters"]["epochs"] == "3"
    assert job["hyper_parameters"]["_tuning_objective_metric"] == "loss"
    assert tuned["best"] in job["model"]
    assert place.packed(job["model"])["weights"].decode() == str(float(tuned["best_values"]["x"]))


def test_its_table_has_all(seen: dict[str, Any]) -> None:
    tuned = seen["tuned"]
    assert set(tuned["columns"]) == {"x", "kind", *SDK_S}
    assert sorted(row["TrainingJobName"] for row in tuned["rows"]) == sorted(tuned["listed"])
    assert len(set(tuned["listed"])) == 10
    assert set(tuned["ranges"]) == {"x", "kind"}
    assert tuned["config"]["RandomSeed"] == 1
    assert tuned["config"]["TrainingJobEarlyStoppingType"] == "Auto"


def test_a_stop_ends_it(seen: dict[str, Any]) -> None:
    assert seen["stopped"] == {"status": "Stopped", "is_listed": True}

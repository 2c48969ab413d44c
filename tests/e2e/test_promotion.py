"""Tuning jobs that promote: real programs that save checkpoints and go on from them."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    Asha,
    CheckpointConfig,
    ContinuousParameter,
    HyperparameterTuner,
    ModelTrainer,
    TrainingJob,
    TuningJob,
)
from orchestrator.embedded import LocalTransport
from orchestrator.errors import InvalidSpec
from orchestrator.spec.tuned import TunedJob
from orchestrator.tuner.configuration import configurations
from tests.e2e.test_tuning import driver_of, wait_for

pytestmark = pytest.mark.e2e

SCRIPT = """
import argparse, json, pathlib, time
p = argparse.ArgumentParser()
p.add_argument("--x", type=float)
p.add_argument("--epochs", type=int)
p.add_argument("--seconds", type=float, default=0)
a = p.parse_args()
kept = pathlib.Path("/opt/ml/checkpoints/state.json")
state = json.loads(kept.read_text()) if kept.exists() else {"epoch": 0, "x": a.x}
if state["x"] != a.x:
    raise SystemExit(f"checkpoints of {state['x']}, not of {a.x}")
print("begins behind epoch", state["epoch"], flush=True)
while state["epoch"] < a.epochs:
    time.sleep(a.seconds)
    state["epoch"] += 1
    print(f"loss={(a.x - 0.3) ** 2 + 1 / state['epoch']:.9f}", flush=True)
    kept.with_suffix(".tmp").write_text(json.dumps(state))
    kept.with_suffix(".tmp").replace(kept)
"""
LOSS = [{"Name": "loss", "Regex": "loss=([-0-9.e]+)"}]
JOBS = 9

Trainer = Callable[..., ModelTrainer]


def tuner(trainer: ModelTrainer, **given: Any) -> HyperparameterTuner:
    settings: dict[str, Any] = {
        "metric_definitions": LOSS,
        "objective_type": "Minimize",
        "max_jobs": JOBS,
        "max_parallel_jobs": 1,
        "random_seed": 1,
        "strategy": "Random",
        "asha": Asha(reduction_factor=2, promote=True),
    }
    ranges = {"x": ContinuousParameter(0, 1)}
    return HyperparameterTuner(trainer, "loss", ranges, **settings | given)


def began_behind(job: TuningJob, tuned: TunedJob) -> int:
    """Return the epoch of the checkpoint from which a training job went on."""
    log = "\n".join(TrainingJob.get(tuned.job_name, job._transport).logs())
    found = re.search(r"begins behind epoch (\d+)", log)
    assert found is not None, log
    return int(found[1])


def check_goes_on(job: TuningJob) -> list[TunedJob]:
    """Check that each went on where the one before had ended; return the training jobs."""
    tuned = list(job.training_jobs())
    chains = configurations(tuned)
    assert any(len(chain.jobs) > 1 for chain in chains)
    for chain in chains:
        ends = [0, *(each.resource for each in chain.jobs)]
        assert [began_behind(job, each) for each in chain.jobs] == ends[:-1]
        assert [each.epochs for each in chain.jobs] == [
            (after or 0) - (before or 0) for before, after in itertools.pairwise(ends)
        ]
    return tuned


@pytest.mark.parametrize("has_place", [False, True])
def test_the_best_train_on_from_their_checkpoints(
    trainer: Trainer, tmp_path: Path, has_place: bool
) -> None:
    place = tmp_path / "kept"
    config = CheckpointConfig(s3_uri=str(place)) if has_place else None
    program = trainer(SCRIPT, hyperparameters={"epochs": 4}, checkpoint_config=config)
    search = tuner(program, max_parallel_jobs=2)
    job = search.tune()
    assert job.status == "Completed"
    tuned = check_goes_on(job)
    assert len(tuned) == JOBS
    assert {each.status for each in tuned} == {"Completed"}
    rows = search.analytics().rows()
    assert [row["Epochs"] for row in rows] == [each.resource for each in tuned]
    best = search.best_training_job()
    assert best.metrics()["loss"] == min(each.objectives[0] for each in tuned)
    assert int(best.record.spec.hyper_parameters["epochs"]) == max(
        each.resource or 0 for each in tuned
    )
    if has_place:
        kept = {
            each.name: json.loads((each / "state.json").read_text()) for each in place.iterdir()
        }
        assert {name: state["epoch"] for name, state in kept.items()} == {
            chain.first.job_name: chain.last.resource for chain in configurations(tuned)
        }


def test_training_jobs_of_a_tuning_job_share_no_checkpoints(
    trainer: Trainer, tmp_path: Path
) -> None:
    config = CheckpointConfig(s3_uri=str(tmp_path / "kept"))
    program = trainer(SCRIPT, hyperparameters={"epochs": 1}, checkpoint_config=config)
    job = tuner(program, asha=None, max_jobs=3).tune()
    names = [each.job_name for each in job.training_jobs()]
    assert sorted(each.name for each in (tmp_path / "kept").iterdir()) == names
    assert job.overview.status_counts.completed == 3


def test_a_killed_driver_promotes_nobody_twice(
    trainer: Trainer, orchestrator_transport: LocalTransport
) -> None:
    program = trainer(SCRIPT, hyperparameters={"epochs": 4, "seconds": 0.1})
    quiet = tuner(program).tune()
    job = tuner(program).tune(wait=False)
    for ended in (2, 3, 6):
        wait_for(job, ended)
        os.kill(driver_of(orchestrator_transport.home), signal.SIGKILL)
    job.wait()
    assert job.status == "Completed"

    def outcome(tuned: list[TunedJob]) -> list[tuple[Any, ...]]:
        return [(each.values, each.continues, each.resource, each.objectives) for each in tuned]

    assert outcome(check_goes_on(job)) == outcome(check_goes_on(quiet))


def test_what_cannot_be_promoted_is_refused(trainer: Trainer) -> None:
    with pytest.raises(InvalidSpec, match="asha.promote tells training jobs for how long"):
        tuner(trainer(SCRIPT), asha={"promote": True, "max_resource": 9}).tune()

"""Tuning jobs whose training jobs are real programs."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    CategoricalParameter,
    ContinuousParameter,
    HyperparameterTuner,
    ModelTrainer,
    TrainingJob,
    TuningJob,
)
from orchestrator.embedded import LocalTransport
from orchestrator.errors import InvalidSpec, NotFound
from orchestrator.failpoints import TUNING_FAILPOINTS, VARIABLE
from orchestrator.service.assemble import open_service
from orchestrator.service.gc import collect_garbage
from orchestrator.settings import Settings
from orchestrator.spec.tuned import TuningOverview
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.e2e

SCRIPT = """
import argparse, time
p = argparse.ArgumentParser()
p.add_argument("--x", type=float, default=9)
p.add_argument("--kind", default="good")
p.add_argument("--epochs", type=int, default=1)
p.add_argument("--seconds", type=float, default=0)
a = p.parse_args()
if a.kind == "crash":
    raise SystemExit("no such kind")
for epoch in range(a.epochs):
    time.sleep(a.seconds)
    print(f"loss={(a.x - 0.3) ** 2 + (a.kind == 'bad'):.9f}", flush=True)
"""
X = ContinuousParameter(0, 1)
LOSS = [{"Name": "loss", "Regex": "loss=([-0-9.e]+)"}]

Trainer = Callable[..., ModelTrainer]


def tuner(trainer: ModelTrainer, **given: Any) -> HyperparameterTuner:
    settings: dict[str, Any] = {
        "hyperparameter_ranges": {"x": X},
        "metric_definitions": LOSS,
        "objective_type": "Minimize",
        "max_jobs": 6,
        "max_parallel_jobs": 2,
        "random_seed": 1,
    }
    return HyperparameterTuner(trainer, "loss", **settings | given)


def test_finds_what_is_good(trainer: Trainer) -> None:
    ranges = {"x": X, "kind": CategoricalParameter(["good", "bad"])}
    search = tuner(trainer(SCRIPT), hyperparameter_ranges=ranges, max_jobs=14)
    seen: list[int] = []
    job = search.tune(on_change=lambda overview: seen.append(overview.status_counts.completed))
    assert job.status == "Completed"
    assert seen[-1] == 14
    best = search.best_training_job()
    assert best.record.spec.hyper_parameters["kind"] == "good"
    assert abs(float(best.record.spec.hyper_parameters["x"]) - 0.3) < 0.1
    rows = search.analytics().rows()
    assert min(row["FinalObjectiveValue"] for row in rows) == best.metrics()["loss"]
    assert {type(row["x"]) for row in rows} == {float}
    first = next(job.training_jobs(sort_by="FinalObjectiveMetricValue"))
    assert first.objectives == (best.metrics()["loss"],)


def test_what_decides_is_told_and_drawn(
    trainer: Trainer, orchestrator_transport: LocalTransport, tmp_path: Path
) -> None:
    """By the driver, and after its end from the home itself."""
    ranges = {"x": X, "kind": CategoricalParameter(["good", "bad"])}
    search = tuner(trainer(SCRIPT), hyperparameter_ranges=ranges, max_jobs=14, strategy="Random")
    job = search.tune()
    shares = job.importance()
    assert set(shares) == {"x", "kind"}
    assert sum(shares.values()) == pytest.approx(1)
    with pytest.raises(InvalidSpec, match=r"\(loss\), got 'speed'"):
        job.importance("speed")
    os.kill(driver_of(orchestrator_transport.home), signal.SIGKILL)
    assert job.importance("loss") == shares
    path = job.report(tmp_path / "search.html")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    page = path.read_text(encoding="utf-8")
    assert f"<title>{job.name}: Completed</title>" in page
    assert page.count('<div id="plot-') == 4
    with pytest.raises(InvalidSpec, match="mkdir -p"):
        job.report(tmp_path / "none" / "search.html")


def test_bad_training_jobs_are_stopped_while_they_run(trainer: Trainer) -> None:
    """Two begin together; after three epochs the worse one has to end."""
    program = trainer(SCRIPT, hyperparameters={"epochs": 600, "seconds": 0.1})
    points = [{"x": 0.3}, {"x": 0.9}]
    short = tuner(
        program,
        first_points=points,
        max_jobs=2,
        max_parallel_jobs=2,
        asha={"max_resource": 600, "min_resource": 3, "reduction_factor": 2},
    )
    job = short.tune(wait=False)

    def stopped() -> bool:
        ended = {each.values["x"]: each for each in job.training_jobs() if each.ended_at}
        return "0.9" in ended and ended["0.9"].status == "Stopped"

    eventually(stopped, seconds=60)
    bad = next(each for each in job.training_jobs() if each.values["x"] == "0.9")
    assert bad.objectives == (0.36,)
    record = TrainingJob.get(bad.job_name, job._transport).record
    assert record.end_reason == "early_stopped"
    job.stop(wait=True)
    assert job.status == "Stopped"
    assert job.overview.best is not None
    assert job.overview.best.values == {"x": "0.3"}


def test_failures_teach_and_do_not_end_it(trainer: Trainer) -> None:
    kinds = {"kind": CategoricalParameter(["good", "crash"]), "x": X}
    search = tuner(trainer(SCRIPT), hyperparameter_ranges=kinds, max_jobs=8, strategy="Random")
    job = search.tune()
    counts = job.overview.status_counts
    assert job.status == "Completed"
    assert counts.completed
    assert counts.non_retryable_error
    failed = [each for each in job.training_jobs() if each.status == "Failed"]
    assert all("no such kind" in (each.failure_reason or "") for each in failed)
    worst = max(each.objectives[0] for each in job.training_jobs() if each.objectives)
    assert all(each.told and each.told[0] <= worst for each in failed if each.told)


def test_an_objective_that_is_never_printed_is_named(trainer: Trainer) -> None:
    metrics = [{"Name": "loss", "Regex": "accuracy=([0-9.]+)"}]
    search = tuner(trainer(SCRIPT), metric_definitions=metrics)
    job = search.tune()
    assert job.status == "Failed"
    why = job.overview.record.failure_reason or ""
    assert "'loss' was never reported: its expression 'accuracy=([0-9.]+)' fits no line" in why
    assert "it last printed: " in why
    assert "loss=" in why
    with pytest.raises(NotFound, match="never reported"):
        search.best_training_job()


def test_what_can_never_run_is_refused(trainer: Trainer) -> None:
    with pytest.raises(InvalidSpec, match="at least one range, got none"):
        tuner(trainer(SCRIPT), hyperparameter_ranges={}).tune()
    with pytest.raises(InvalidSpec, match="needs an end"):
        tuner(trainer(SCRIPT), max_jobs=None).tune()
    with pytest.raises(InvalidSpec, match="min_value must not be above"):
        tuner(trainer(SCRIPT), hyperparameter_ranges={"x": ContinuousParameter(2, 1)})
    with pytest.raises(InvalidSpec, match="must be a ContinuousParameter"):
        tuner(trainer(SCRIPT), hyperparameter_ranges={"x": [1, 2]})
    with pytest.raises(InvalidSpec, match="range of 'x': .* scaling_type: must be 'Auto'"):
        tuner(trainer(SCRIPT), hyperparameter_ranges={"x": ContinuousParameter(0, 1, "Log")})
    with pytest.raises(InvalidSpec, match="broken: a Logarithmic range must be above 0"):
        tuner(
            trainer(SCRIPT), hyperparameter_ranges={"x": ContinuousParameter(0, 1, "Logarithmic")}
        )
    with pytest.raises(InvalidSpec, match=r"tuning_job_name: must match .*\{0,31\}"):
        tuner(trainer(SCRIPT)).tune(job_name="bad name")
    with pytest.raises(NotFound, match="no tuning job 'none'; `orchestrator tunings` shows"):
        tuner(trainer(SCRIPT), warm_start=["none"]).tune()
    with pytest.raises(InvalidSpec, match="parents must be different, got 'none' twice"):
        tuner(trainer(SCRIPT), warm_start=["none", "none"])
    with pytest.raises(InvalidSpec, match="/nowhere"):
        tuner(trainer(SCRIPT)).tune({"train": "/nowhere/at/all"})


def test_its_code_is_kept_as_long_as_it(
    trainer: Trainer, orchestrator_transport: LocalTransport
) -> None:
    """Its next training jobs are not written down yet, and will need it."""
    home = orchestrator_transport.home
    job = tuner(trainer(SCRIPT), max_jobs=1).tune()
    (definition,) = job.overview.record.spec.definitions
    assert definition.job.source_code is not None
    digest = definition.job.source_code.digest
    (source,) = [path for path in (home / "blobs").rglob(f"{digest}*") if path.is_file()]
    os.utime(source, (0, 0))
    best = job.best_training_job()

    def collected() -> list[str]:
        with closing(open_service(Settings(home=home))) as service:
            return [found.name for found in collect_garbage(service, dry_run=True)]

    eventually(lambda: not (home / "unreleased" / best.name).exists())
    best.delete()
    assert digest not in collected()
    job.delete()
    assert digest in collected()


def test_its_training_jobs_are_no_garbage_before_it_has_ended(
    trainer: Trainer, orchestrator_transport: LocalTransport
) -> None:
    """Others may go on with their checkpoints, and the best of them is what it is for."""
    home = orchestrator_transport.home
    seconds = CategoricalParameter(["0", "600"])
    job = tuner(
        trainer(SCRIPT),
        hyperparameter_ranges={"seconds": seconds},
        strategy="Grid",
        max_jobs=2,
        max_parallel_jobs=1,
    ).tune(wait=False)
    wait_for(job, 1)
    best = job.best_training_job()

    def collected() -> list[str]:
        with closing(open_service(Settings(home=home))) as service:
            found = collect_garbage(service, dry_run=True, older_than_seconds=0)
            return [each.name for each in found]

    assert best.name not in collected()
    job.stop(wait=True)
    assert best.name in collected()


def driver_of(home: Path) -> int:
    return int((home / "driver.lock").read_text().strip())


def wait_for(job: TuningJob, completed: int) -> None:
    """Wait by a call that also begins a driver where there is none."""
    tunings, seen = job._transport.tunings, job.overview
    while seen.status_counts.completed < completed:
        revision = seen.record.revision
        seen = TuningOverview.model_validate(
            tunings.wait(job.name, after=revision, timeout_seconds=5)
        )


def outcome(job: TuningJob) -> list[tuple[str, dict[str, str], tuple[float, ...]]]:
    return [(each.job_name[-12:], each.values, each.objectives) for each in job.training_jobs()]


def test_a_killed_driver_changes_nothing(
    trainer: Trainer, orchestrator_transport: LocalTransport
) -> None:
    """One at a time, the values are a function of the seed and the results."""
    program = trainer(SCRIPT, hyperparameters={"seconds": 0.2})
    quiet = tuner(program, max_parallel_jobs=1, max_jobs=11).tune()
    job = tuner(program, max_parallel_jobs=1, max_jobs=11).tune(wait=False)
    for ended in (1, 4, 9):
        wait_for(job, ended)
        os.kill(driver_of(orchestrator_transport.home), signal.SIGKILL)
    job.wait()
    assert job.status == "Completed"
    assert [row[1:] for row in outcome(job)] == [row[1:] for row in outcome(quiet)]
    names = [each.job_name for each in job.training_jobs()]
    assert len(set(names)) == 11


@pytest.mark.parametrize("name", [name for name in TUNING_FAILPOINTS if name.startswith("tune.")])
def test_a_driver_that_dies_at_a_step_loses_and_repeats_nothing(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(VARIABLE, f"{name}:kill:{tmp_path / 'fired'}")
    job = tuner(trainer(SCRIPT), max_jobs=3, max_parallel_jobs=1).tune()
    assert (tmp_path / "fired").exists()
    assert job.status == "Completed"
    assert job.overview.status_counts.completed == 3
    names = [each.job_name for each in job.training_jobs()]
    known = [each["name"] for each in job._transport.list_jobs()["jobs"]]
    assert sorted(known) == sorted(names)


def test_definitions_as_one_space_get_training_jobs_by_what_they_are_worth(
    trainer: Trainer,
) -> None:
    kinds = {kind: trainer(SCRIPT, hyperparameters={"kind": kind}) for kind in ("good", "bad")}
    search = HyperparameterTuner.create(
        kinds,
        "loss",
        {kind: {"x": X} for kind in kinds},
        dict.fromkeys(kinds, LOSS),
        joint=True,
        objective_type="Minimize",
        max_jobs=16,
        max_parallel_jobs=2,
        random_seed=1,
    )
    job = search.tune()
    assert job.status == "Completed"
    chosen = [row["TrainingJobDefinitionName"] for row in search.analytics().rows()]
    assert set(chosen) == {"good", "bad"}
    assert chosen.count("good") > chosen.count("bad")
    assert search.best_training_job().record.spec.hyper_parameters["kind"] == "good"
    with pytest.raises(InvalidSpec, match="use the same names"):
        HyperparameterTuner.create(kinds, "loss", {"good": {"x": X}})

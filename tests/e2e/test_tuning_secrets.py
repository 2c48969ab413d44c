"""Training jobs of tuning jobs have secrets; nothing else has, and nothing is left of them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ContinuousParameter, HyperparameterTuner, ModelTrainer, TuningJob
from orchestrator.embedded import LocalTransport, connect_driver, start_driver
from orchestrator.errors import InvalidSpec
from orchestrator.failpoints import TUNING_FAILPOINTS, VARIABLE
from orchestrator.testing.plugin import driver_pid
from tests.e2e.conftest import eventually
from tests.e2e.machine import ended, request
from tests.e2e.test_faults_submit import at_once
from tests.wire.conftest import tuning

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SCRIPT = """
import argparse, hashlib, os, time
p = argparse.ArgumentParser()
p.add_argument("--x", type=float)
p.add_argument("--epochs", type=int, default=1)
p.add_argument("--seconds", type=float, default=0)
p.add_argument("--fails", type=int, default=0)
a = p.parse_args()
token = os.environ["MY_TOKEN"]
print("it is", token)
if a.fails:
    raise SystemExit(f"{token} was refused")
for epoch in range(a.epochs):
    time.sleep(a.seconds)
    print(f"loss={int(hashlib.sha256(token.encode()).hexdigest()[:8], 16)}", flush=True)
"""
VALUE = "correct-horse-battery-staple"
LOSS = [{"Name": "loss", "Regex": "loss=([-0-9.e]+)"}]
CREATING = ("create_tuning.before_commit", "create_tuning.after_commit")
BEGINNING = ("submit.before_commit", "submit.after_commit", "start.after_plan", "end.after_commit")

Trainer = Callable[..., ModelTrainer]


@pytest.fixture(autouse=True)
def _value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", VALUE)


def digest(value: str = VALUE) -> float:
    """What a program that has this value reports."""
    return float(int(hashlib.sha256(value.encode()).hexdigest()[:8], 16))


def tuner(trainer: Trainer, **given: Any) -> HyperparameterTuner:
    hyperparameters = given.pop("hyperparameters", {})
    settings: dict[str, Any] = {
        "hyperparameter_ranges": {"x": ContinuousParameter(0, 1)},
        "metric_definitions": LOSS,
        "max_jobs": 3,
        "random_seed": 1,
    }
    made = trainer(SCRIPT, secrets=["MY_TOKEN"], hyperparameters=hyperparameters)
    return HyperparameterTuner(made, "loss", **settings | given)


def holding(home: Path, value: str = VALUE) -> list[str]:
    """Return the files of a home that hold a value."""
    found = []
    for folder, _, names in os.walk(home):  # what goes meanwhile is passed over
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                if path.is_file() and value.encode() in path.read_bytes():
                    found.append(str(path.relative_to(home)))
    return found


def nothing_is_left(home: Path, value: str = VALUE) -> None:
    """Wait until it is so: what is removed behind the end's commit may take a moment."""
    eventually(lambda: not holding(home, value))


def test_each_training_job_has_them_and_nobody_else(
    trainer: Trainer, orchestrator_home: Path, tmp_path: Path
) -> None:
    search = tuner(trainer, max_parallel_jobs=2, max_jobs=4)
    job = search.tune()
    assert job.status == "Completed"
    assert [each.objectives for each in job.training_jobs()] == [(digest(),)] * 4
    nothing_is_left(orchestrator_home)
    best = job.best_training_job()
    assert "it is ***" in list(best.logs())
    page = job.report(tmp_path / "search.html").read_text(encoding="utf-8")
    for text in (page, job.overview.model_dump_json(), best.record.model_dump_json()):
        assert VALUE not in text
    assert best.record.spec.secrets == ("MY_TOKEN",)
    job.delete()


def test_until_the_end_there_is_one_place_and_it_is_the_owners(
    trainer: Trainer, orchestrator_home: Path
) -> None:
    """A training job that waits for a slot when its tuning job is stopped never runs."""
    home = orchestrator_home
    given = {"max_jobs": 9, "max_parallel_jobs": 3, "hyperparameters": {"seconds": 600}}
    job = tuner(trainer, **given).tune(wait=False)
    expected = [f"secrets/tuning-jobs/{job.name}.json"]
    eventually(lambda: len(list(job.training_jobs())) == 3)
    expected += [f"secrets/training-jobs/{each.job_name}.json" for each in job.training_jobs()]
    eventually(lambda: sorted(holding(home)) == sorted(expected))  # supervisors have taken theirs
    assert {stat.S_IMODE((home / name).stat().st_mode) for name in expected} == {0o600}
    job.stop(wait=True)
    assert job.status == "Stopped"
    nothing_is_left(orchestrator_home)


def test_nothing_is_left_of_one_that_failed(trainer: Trainer, orchestrator_home: Path) -> None:
    job = tuner(trainer, hyperparameters={"fails": 1}).tune()
    assert job.status == "Failed"
    assert "*** was refused" in (job.overview.record.failure_reason or "")
    nothing_is_left(orchestrator_home)


def test_those_that_go_on_from_checkpoints_have_them_too(
    trainer: Trainer, orchestrator_home: Path
) -> None:
    asha = {"promote": True, "reduction_factor": 2}
    job = tuner(trainer, max_jobs=6, asha=asha, hyperparameters={"epochs": 4}).tune()
    assert job.status == "Completed"
    jobs = list(job.training_jobs())
    assert any(each.continues for each in jobs)
    assert {each.objectives for each in jobs} == {(digest(),)}
    nothing_is_left(orchestrator_home)


def test_one_that_learns_from_another_needs_its_own(
    trainer: Trainer, orchestrator_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tuner(trainer).tune()
    monkeypatch.setenv("MY_TOKEN", "another-value")
    child = tuner(trainer, warm_start=[parent.name]).tune()
    assert {each.objectives for each in child.training_jobs()} == {(digest("another-value"),)}
    monkeypatch.delenv("MY_TOKEN")
    with pytest.raises(InvalidSpec, match="every secret needs a value, got none for 'MY_TOKEN'"):
        tuner(trainer, warm_start=[parent.name]).tune()
    nothing_is_left(orchestrator_home)
    nothing_is_left(orchestrator_home, "another-value")


def wait_for(job: TuningJob, completed: int) -> None:
    """Wait by calls of which one begins a driver where there is none."""
    tunings, seen = job._transport.tunings, job.overview.model_dump(mode="json")
    while seen["status_counts"]["completed"] < completed:
        revision = seen["record"]["revision"]
        seen = tunings.wait(job.name, after=revision, timeout_seconds=5)


def test_a_killed_driver_neither_loses_nor_leaves_them(
    trainer: Trainer, orchestrator_home: Path
) -> None:
    job = tuner(trainer, max_jobs=5, hyperparameters={"seconds": 0.2}).tune(wait=False)
    for count in (1, 3):
        wait_for(job, count)
        pid = driver_pid(orchestrator_home)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    job.wait()
    assert job.status == "Completed"
    assert [each.objectives for each in job.training_jobs()] == [(digest(),)] * 5
    nothing_is_left(orchestrator_home)


@pytest.mark.parametrize(
    "name", [*CREATING, *(n for n in TUNING_FAILPOINTS if n.startswith("tune")), *BEGINNING]
)
def test_a_driver_that_dies_at_a_step_neither_loses_nor_leaves_them(
    trainer: Trainer,
    orchestrator_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(VARIABLE, f"{name}:kill:{tmp_path / 'fired'}")
    job = tuner(trainer).tune()
    eventually((tmp_path / "fired").exists)
    assert job.status == "Completed"
    assert [each.objectives for each in job.training_jobs()] == [(digest(),)] * 3
    trainer("", name="next.py").train()  # whoever drives next cleans up
    nothing_is_left(orchestrator_home)


def test_a_request_that_was_never_accepted_leaves_them_to_nobody(
    orchestrator_home: Path,
    orchestrator_transport: LocalTransport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver dies before the commit, and the client with it."""
    monkeypatch.setenv(VARIABLE, f"create_tuning.before_commit:kill:{tmp_path / 'fired'}")
    start_driver(orchestrator_home)
    connection = connect_driver(orchestrator_home)
    assert connection is not None
    params = {"spec": wish(), "secrets": {"MY_TOKEN": VALUE}, "idempotency_key": "key"}
    with connection, connection.makefile("rwb") as stream:
        call = {"method": "create_tuning_job", "params": params}
        stream.write(json.dumps(call).encode() + b"\n")
        stream.flush()
        assert stream.readline() == b""
    assert holding(orchestrator_home) == ["secrets/tuning-jobs/search-1.json"]
    orchestrator_transport.submit(request("next"), secrets={}, idempotency_key="next")
    ended(orchestrator_home, "next")
    assert holding(orchestrator_home) == []
    assert orchestrator_transport.tunings.list()["jobs"] == []


def wish(**more: Any) -> dict[str, Any]:
    """A tuning job of a shell script that reports its secret's length."""
    spec = tuning("echo loss=${#MY_TOKEN}", **more)
    spec["definitions"][0]["job"]["secrets"] = ["MY_TOKEN"]
    return spec


def test_of_several_of_one_name_the_accepted_one_has_its_own(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    def create(n: int) -> Any:
        return orchestrator_transport.tunings.create(
            wish(random_seed=n), secrets={"MY_TOKEN": VALUE[:12] + n * "x"}, idempotency_key=str(n)
        )

    accepted = [answer for answer in at_once(8, create) if isinstance(answer, dict)]
    assert len(accepted) == 1
    seed = accepted[0]["record"]["spec"]["random_seed"]
    job = TuningJob.get("search-1", orchestrator_transport)
    job.wait()
    assert {each.objectives for each in job.training_jobs()} == {(12.0 + seed,)}
    nothing_is_left(orchestrator_home, VALUE[:12])

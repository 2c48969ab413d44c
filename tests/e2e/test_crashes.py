"""kill -9 of the driver at every step that has a name: the job runs once, whole, to its right end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import Compute, ModelTrainer, TrainingJob
from orchestrator.failpoints import FAILPOINTS, VARIABLE
from orchestrator.store.sql import open_store
from tests.e2e.conftest import eventually, training

pytestmark = pytest.mark.e2e

LINES = 200
SCRIPT = f"""
import os
with open("/opt/ml/checkpoints/runs", "a") as runs:
    runs.write("run\\n")
for number in range({LINES}):
    print("line", number)
with open("/opt/ml/model/weights", "w") as model:
    model.write("w" * 1000)
with open("/opt/ml/output/data/report", "w") as report:
    report.write("r")
print("score=0.5")
"""
PATIENT = """
import signal, sys
print("ready", flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open("/opt/ml/checkpoints/runs", "a").write("run\\n")
signal.pause()
"""
LOST_ONCE = """
import os, signal, sys
with open("/opt/ml/checkpoints/runs", "a+") as runs:
    runs.write("run\\n")
    runs.seek(0)
    first = len(runs.readlines()) == 1
print("ready", flush=True)
if first:
    signal.pause()
"""

Make = Callable[..., ModelTrainer]


def runs(home: Path, job: TrainingJob) -> int:
    """How often the program was started."""
    return len((home / "jobs" / job.name / "checkpoints" / "runs").read_text().splitlines())


def arm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> Path:
    """Make the next driver die once at this point; return the file that tells it did."""
    marker = tmp_path / "fired"
    monkeypatch.setenv(VARIABLE, f"{name}:kill:{marker}")
    return marker


def completes(home: Path, trainer: Make, job_name: str | None = None) -> TrainingJob:
    """A job that ends by itself."""
    job = trainer(
        SCRIPT, metric_definitions=[{"Name": "score", "Regex": "score=([0-9.]+)"}]
    ).train(wait=False, job_name=job_name)
    result = job.result(timeout_seconds=60)
    assert result.metrics == {"score": 0.5}
    assert list(job.logs()) == [f"line {n}" for n in range(LINES)] + ["score=0.5"]
    assert result.model is not None
    assert Path(result.model.uri).exists()
    assert result.output is not None
    assert job.record.attempt == 1
    assert runs(home, job) == 1
    return job


def is_stopped(home: Path, trainer: Make) -> None:
    """A job that is asked to stop while it runs."""
    job = training(trainer(PATIENT).train(wait=False))
    job.stop()
    job.wait(timeout_seconds=60)
    assert (job.record.status, job.record.end_reason) == ("Stopped", "user_stop")
    assert runs(home, job) == 1


def is_retried(home: Path, trainer: Make) -> None:
    """A job whose supervisor is killed, so that a second attempt runs."""
    job = training(trainer(LOST_ONCE).train(wait=False))
    claim = home / "jobs" / job.name / "attempts" / "1" / "algo-1" / "claim.json"
    os.kill(
        int(claim.read_text().partition('"pid":')[2].split(",")[0].strip(" }")), signal.SIGKILL
    )
    job.wait(timeout_seconds=60)
    assert (job.record.status, job.record.attempt) == ("Completed", 2)
    assert runs(home, job) == 2


def waits_for_another(home: Path, trainer: Make, marker: Path) -> None:
    """A job for which there is no room yet: what it waits for is written down, for sure."""
    first = trainer(PATIENT).train(wait=False)
    job = trainer(SCRIPT).train(wait=False)
    eventually(marker.exists)
    first.stop()
    job.wait(timeout_seconds=60)
    assert (job.record.status, job.record.attempt) == ("Completed", 1)
    assert runs(home, job) == 1
    assert first.refresh().status == "Stopped"


def meets_left_over(home: Path, trainer: Make) -> None:
    """A job in whose place a forgotten job of the same name has left its success."""
    open_store(home / "store.sqlite3").close()  # one that knows nothing of it
    leave(home / "jobs" / "again")
    job = completes(home, trainer, job_name="again")
    assert [note for note in job.record.notes.values() if "store does not know" in note]
    # A death in between splits what was there, but loses nothing of it.
    kept = {path.name for aside in (home / "jobs").glob("again.*") for path in aside.iterdir()}
    assert kept == {"attempts", "checkpoints", "owner.json"}


def leave(folder: Path) -> None:
    """Make the folder of a job that has completed."""
    host = folder / "attempts" / "1" / "algo-1"
    host.mkdir(parents=True)
    (host / "claim.json").write_text('{"pid": 1}')
    (host / "log").write_text("the old one\n")
    record = {"outcome": "exited", "exit_code": 0, "phases": [], "artifacts": {}}
    (host / "exit.json").write_text(json.dumps(record))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "runs").write_text("run\n")
    (folder / "owner.json").write_text('{"job": "1-1"}')


SCENARIOS = {
    "stop": is_stopped,
    "retry": is_retried,
    "aside": meets_left_over,
}


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_a_driver_that_dies_at_this_point_loses_and_repeats_nothing(
    failpoint: str,
    orchestrator_home: Path,
    trainer: Make,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "1")
    marker = arm(monkeypatch, tmp_path, failpoint)
    kind = failpoint.partition(".")[0]
    if kind == "observe":
        waits_for_another(orchestrator_home, trainer, marker)
    else:
        SCENARIOS.get(kind, completes)(orchestrator_home, trainer)
    eventually(marker.exists)  # it was reached
    trainer("", name="next.py").train()  # whoever drives next cleans up
    eventually(lambda: not list((orchestrator_home / "unreleased").iterdir()))


def test_two_jobs_one_after_the_other_do_not_share_cpu_slots(
    orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "1")
    first = training(trainer(PATIENT).train(wait=False))
    second = trainer(PATIENT, compute=Compute(cpus=1)).train(wait=False)
    eventually(lambda: "CPU slot" in second.refresh().record.message)
    assert second.record.message == "waits for 1 CPU slot(s), 0 free"
    first.stop()
    training(second)
    assert first.refresh().status == "Stopped"

"""The store has forgotten jobs (it was lost, or restored from a backup), the disk has not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from orchestrator import ModelTrainer, TrainingJob
from orchestrator.embedded import LocalTransport
from orchestrator.service.assemble import Service, open_service
from orchestrator.service.gc import collect_garbage
from orchestrator.settings import Settings
from orchestrator.store.sql import open_store
from orchestrator.testing.plugin import driver_pid
from tests.e2e.conftest import eventually
from tests.e2e.machine import (
    GATED,
    Gate,
    drivers_of,
    ended,
    is_alive,
    kill,
    request,
    runs,
    stored,
    supervisor_of,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

OTHER = """
with open("/opt/ml/checkpoints/runs", "a") as runs:
    runs.write("run\\n")
print("another program", flush=True)
raise SystemExit(9)
"""
ANYWHERE = """
import os, time
print("ready", flush=True)
while not os.path.exists(os.environ["SM_CHANNEL_GATE"] + "/open"):
    time.sleep(0.02)
"""
"""Needs no /opt/ml."""
LONG_AGO = 1_000_000_000


def backup(home: Path) -> Path:
    """Copy the store as it is now."""
    with closing(open_store(home / "store.sqlite3")) as store:
        made = store.backup()
    assert made is not None
    return made


def restore(home: Path, made: Path) -> None:
    """Do what people are told to do when the store is damaged."""
    pid = driver_pid(home)
    if pid is not None:
        kill(pid)
    eventually(lambda: not drivers_of(home))
    for name in ("store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"):
        (home / name).unlink(missing_ok=True)
    shutil.copyfile(made, home / "store.sqlite3")


def train(home: Path, tmp_path: Path, text: str, name: str, *channels: object) -> TrainingJob:
    """Submit a script without waiting for it."""
    script = tmp_path / f"{len(text)}.py"
    script.write_text(text, encoding="utf-8")
    trainer = ModelTrainer(source_code=str(script), transport=LocalTransport(home))
    return trainer.train(list(channels), wait=False, job_name=name)  # type: ignore[arg-type]


def close(job: TrainingJob) -> None:
    """Close the connection that a job was submitted with."""
    job._transport.close()


@contextmanager
def opened(home: Path) -> Iterator[Service]:
    """Open a home without driving it."""
    service = open_service(Settings(home=home))
    try:
        yield service
    finally:
        service.close()


@pytest.fixture
def before(orchestrator_home: Path) -> Path:
    """A backup of a store that knows one job, ``first``."""
    transport = LocalTransport(orchestrator_home)
    transport.submit(request("first"), secrets={}, idempotency_key="1")
    ended(orchestrator_home, "first")
    transport.close()
    return backup(orchestrator_home)


def test_a_job_never_gets_the_success_of_a_forgotten_one_of_its_name(
    orchestrator_home: Path, before: Path, tmp_path: Path
) -> None:
    home = orchestrator_home
    gate = Gate(tmp_path / "gate")
    gate.open()
    forgotten = train(home, tmp_path, GATED, "again", gate.channel)
    assert forgotten.wait(timeout_seconds=60).status == "Completed"
    close(forgotten)
    restore(home, before)
    job = train(home, tmp_path, OTHER, "again").wait(timeout_seconds=60)
    assert (job.status, job.record.hosts[0].exit_code) == ("Failed", 9)
    assert list(job.logs()) == ["another program"]
    assert job.record.artifacts == {}
    assert (job.record.attempt, runs(home, "again")) == (1, 1)  # without the other's checkpoints
    assert any("store does not know" in note for note in job.record.notes.values())
    (aside,) = (home / "jobs").glob("again.forgotten-*")
    old = aside / "attempts" / "1" / "algo-1"
    assert "through" in (old / "log").read_text()  # what the other one did is kept
    assert (old / "artifacts" / "model.tar.gz").exists()
    close(job)


def test_a_forgotten_job_that_runs_is_neither_ended_nor_taken_over(
    isolation: str, orchestrator_home: Path, before: Path, tmp_path: Path
) -> None:
    home = orchestrator_home
    gate = Gate(tmp_path / "gate")
    forgotten = train(home, tmp_path, ANYWHERE, "again", gate.channel)
    eventually(lambda: "ready" in list(forgotten.logs()))
    supervisor = supervisor_of(home, "again")
    close(forgotten)
    restore(home, before)
    job = train(home, tmp_path, "print('another program')", "again")
    eventually(lambda: f"kill {supervisor}" in job.refresh().record.message)
    assert "which the store does not know" in job.record.message
    assert job.record.secondary_status == "Pending"
    assert list(job.logs(follow=False)) == []
    assert is_alive(supervisor)

    # Nor is it taken for rubbish, whatever is asked for.
    os.utime(home / "jobs" / "again", (LONG_AGO, LONG_AGO))
    with opened(home) as service:
        assert not [g for g in collect_garbage(service, lost_jobs=True) if g.name == "again"]
    assert is_alive(supervisor)

    gate.open()
    job.wait(timeout_seconds=60)
    assert (job.status, list(job.logs())) == ("Completed", ["another program"])
    (aside,) = (home / "jobs").glob("again.forgotten-*")
    assert (aside / "attempts" / "1" / "algo-1" / "exit.json").exists()
    close(job)


def test_a_job_that_was_queued_when_the_backup_was_made_is_found_as_it_is(
    orchestrator_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same job, so what it did since is its own."""
    home = orchestrator_home
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "1")
    blocks = Gate(tmp_path / "blocks")
    first = train(home, tmp_path, GATED, "first", blocks.channel)
    eventually(lambda: "ready" in list(first.logs()))
    gate = Gate(tmp_path / "gate")
    job = train(home, tmp_path, GATED + "# later", "queued", gate.channel)
    eventually(lambda: "CPU slot" in job.refresh().record.message)
    made = backup(home)
    blocks.open()
    eventually(lambda: "ready" in list(job.logs()))
    supervisor = supervisor_of(home, "queued")
    close(first)
    close(job)
    restore(home, made)
    transport = LocalTransport(home)
    transport.submit(request("next"), secrets={}, idempotency_key="2")
    eventually(lambda: stored(home, "queued").attempt == 1)
    assert is_alive(supervisor)
    gate.open()
    assert ended(home, "queued").status == "Completed"
    assert (stored(home, "queued").attempt, runs(home, "queued")) == (1, 1)
    assert ended(home, "next").status == "Completed"
    transport.close()


def test_a_folder_whose_name_was_used_again_since_the_backup_is_not_believed(
    orchestrator_home: Path, tmp_path: Path
) -> None:
    """The backup knows a running job; it was deleted, and another one of its name completed."""
    home = orchestrator_home
    gate = Gate(tmp_path / "gate")
    job = train(home, tmp_path, GATED, "again", gate.channel)
    eventually(lambda: "ready" in list(job.logs()))
    eventually(lambda: stored(home, "again").secondary_status == "Training")
    made = backup(home)
    gate.open()
    job.wait(timeout_seconds=60)
    job.delete()
    other = train(home, tmp_path, OTHER, "again").wait(timeout_seconds=60)
    assert other.status == "Failed"
    close(job)
    close(other)
    restore(home, made)
    transport = LocalTransport(home)
    transport.submit(request("next"), secrets={}, idempotency_key="2")
    found = ended(home, "again")  # tried again, as after any loss
    assert (found.status, found.attempt, runs(home, "again")) == ("Completed", 2, 1)
    (aside,) = (home / "jobs").glob("again.forgotten-*")
    assert "another program" in (aside / "attempts" / "1" / "algo-1" / "log").read_text()
    transport.close()

"""Faults of the disk under a home: full, without inodes, without descriptors, damaged files."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from orchestrator import ModelTrainer, TrainingJob
from orchestrator.embedded import LocalTransport, connect_driver
from orchestrator.errors import LimitExceeded, OrchestratorError, StoreDamaged, StoreError
from orchestrator.home import prepare_home
from orchestrator.service.admission import MINIMUM_FREE_BYTES
from orchestrator.store.sql import open_store
from orchestrator.store.tables import REVISION
from orchestrator.testing.plugin import driver_pid, end_driver, end_jobs
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

Mount = Callable[[str], Path]


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    """Make a home on a small file system of its own; the argument is the mount's options."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    point = tmp_path / "small"
    point.mkdir()

    def mount(options: str) -> Path:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)], check=True)
        home = prepare_home(point / "home")
        monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
        monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "0.2")
        return home

    yield mount
    home = point / "home"
    if home.is_dir():
        for ballast in point.glob("ballast*"):
            (shutil.rmtree if ballast.is_dir() else Path.unlink)(ballast)
        end_jobs(home)
        end_driver(home)
        eventually(lambda: not drivers_of(home))
        eventually(lambda: subprocess.run(["umount", str(point)], check=False).returncode == 0)


def fill(home: Path, *, leave_bytes: int) -> None:
    """Take all space but so much."""
    ballast = home.parent / f"ballast-{leave_bytes}"
    missing = shutil.disk_usage(home).free - leave_bytes
    with ballast.open("wb") as file:
        block = bytes(1 << 16)
        while missing > 0:
            try:
                missing -= file.write(block[: min(missing, len(block))])
                file.flush()
            except OSError:
                break


def free(home: Path) -> None:
    """Give the space back."""
    for ballast in home.parent.glob("ballast*"):
        ballast.unlink()


def is_sound(home: Path) -> bool:
    """Whether SQLite finds no fault in the state and the metrics."""
    for name in ("store.sqlite3", "metrics.sqlite3"):
        with closing(sqlite3.connect(home / name)) as connection:
            if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                return False
    return True


def gated(home: Path, tmp_path: Path, text: str = GATED) -> tuple[TrainingJob, Gate]:
    """Start a job that waits for its gate."""
    script = tmp_path / "program.py"
    script.write_text(text, encoding="utf-8")
    gate = Gate(tmp_path / "gate")
    transport = LocalTransport(home)
    job = ModelTrainer(source_code=str(script), transport=transport).train(
        [gate.channel], wait=False, job_name="running"
    )
    eventually(lambda: "ready" in list(job.logs()))
    return job, gate


# -- fault 21 ----------------------------------------------------------------------------------


def test_with_little_space_jobs_are_refused_and_running_ones_go_on(
    mounted: Mount, tmp_path: Path
) -> None:
    home = mounted("size=160m")
    job, gate = gated(home, tmp_path)
    fill(home, leave_bytes=MINIMUM_FREE_BYTES // 2)
    with pytest.raises(LimitExceeded, match=r"must have 64 MiB free, has \d+ MiB; free some"):
        job._transport.submit(request("refused"), secrets={}, idempotency_key="1")
    gate.open()
    job.wait(timeout_seconds=60)
    assert (job.status, job.record.attempt) == ("Completed", 1)
    assert list(job.record.artifacts) == ["model"]
    assert [row["name"] for row in job._transport.list_jobs()["jobs"]] == ["running"]
    free(home)
    job._transport.submit(request("taken"), secrets={}, idempotency_key="2")
    assert ended(home, "taken").status == "Completed"
    assert is_sound(home)
    job._transport.close()


PRINTING = (
    GATED.partition('print("through"')[0]
    + """
for number in range(2000):
    print("while the disk is full", number, "x" * 100)
open("/opt/ml/checkpoints/printed", "w")  # this takes no block
while not os.path.exists("/opt/ml/input/data/gate/finish"):
    time.sleep(0.02)
print("the end")
"""
)


def test_with_no_space_at_all_nothing_breaks_and_everything_goes_on_afterwards(
    mounted: Mount, tmp_path: Path
) -> None:
    home = mounted("size=160m")
    job, gate = gated(home, tmp_path, PRINTING)
    driver = driver_pid(home)
    supervisor = supervisor_of(home, job.name)
    fill(home, leave_bytes=0)
    with pytest.raises(LimitExceeded):
        job._transport.submit(request("refused"), secrets={}, idempotency_key="1")
    gate.open()
    checkpoints = home / "jobs" / job.name / "checkpoints"
    eventually((checkpoints / "printed").exists)
    assert driver is not None
    assert is_alive(driver)
    assert is_alive(supervisor)
    assert job.refresh().status == "InProgress"
    free(home)
    (gate.directory / "finish").touch()
    job.wait(timeout_seconds=120)
    # What the program could not write was its own loss; the platform lost nothing it promised.
    assert (job.record.attempt, runs(home, job.name)) == (1, 1)
    lines = list(job.logs())
    assert any("bytes of output were lost: the disk was full" in line for line in lines), lines
    assert lines[-1] == "the end"
    job._transport.submit(request("taken"), secrets={}, idempotency_key="2")
    assert ended(home, "taken").status == "Completed"
    assert is_sound(home)
    job._transport.close()


def test_a_driver_that_starts_on_a_full_disk_says_so(mounted: Mount) -> None:
    home = mounted("size=120m")
    fill(home, leave_bytes=0)
    transport = LocalTransport(home)
    with pytest.raises(OrchestratorError, match=r"(?i)space") as failure:
        transport.submit(request("job"), secrets={}, idempotency_key="1")
    assert failure.value.code in {"limit_exceeded", "unavailable", "store_error"}
    assert "Traceback" not in failure.value.message
    eventually(lambda: not drivers_of(home))  # no loop of crashing drivers
    free(home)
    transport.submit(request("job"), secrets={}, idempotency_key="1")
    assert ended(home, "job").status == "Completed"
    transport.close()


# -- fault 23 ----------------------------------------------------------------------------------


def test_without_inodes_jobs_are_refused_clearly_and_taken_later(
    mounted: Mount, tmp_path: Path
) -> None:
    home = mounted("size=200m,nr_inodes=2000")
    job, gate = gated(home, tmp_path)
    ballast = home.parent / "ballast"
    ballast.mkdir()
    with suppress(OSError):
        for number in range(4000):
            (ballast / str(number)).touch()
    with pytest.raises(OSError, match="No space left"):
        (ballast / "one more").touch()
    script = tmp_path / "other.py"
    script.write_text("print('hello')\n")
    trainer = ModelTrainer(source_code=str(script), transport=job._transport)
    with pytest.raises(OrchestratorError, match=r"(?i)no space|inode|df -i"):
        trainer.train(wait=False)
    gate.open()
    eventually(lambda: "through" in list(job.logs()))
    shutil.rmtree(ballast)
    job.wait(timeout_seconds=120)
    assert job.record.attempt == 1
    assert trainer.train(logs=False).status == "Completed"
    assert is_sound(home)
    job._transport.close()


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), 4096))
from orchestrator.embedded import LocalTransport, connect_driver
from orchestrator.errors import OrchestratorError
from orchestrator.home import home_directory
transport = LocalTransport(home_directory())
spec = {"training_job_name": "job", "algorithm_specification": {"container_entrypoint": ["true"]}}
try:
    transport.submit(spec, secrets={}, idempotency_key="1")
except OrchestratorError as error:
    print("refused:", error.message)
else:
    print("accepted")
"""


@pytest.mark.parametrize("limit", [8, 10, 12, 14, 16, 20, 32])
def test_with_few_descriptors_there_is_a_clear_error_or_the_job_runs(
    limit: int, orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("refused:"):
        assert "open files" in done.stdout, done.stdout
        assert "Traceback" not in done.stdout
    for pid in drivers_of(orchestrator_home):
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not drivers_of(orchestrator_home))
    orchestrator_transport.submit(request("job"), secrets={}, idempotency_key="1")
    job = ended(orchestrator_home, "job")
    assert (job.status, job.attempt <= 2) == ("Completed", True)


def test_many_clients_of_a_driver_with_few_descriptors_wait_their_turn(
    orchestrator_home: Path,
    orchestrator_transport: LocalTransport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What comes over the limit waits in the socket's queue; the driver neither ends nor spins."""
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "60")
    orchestrator_transport.submit(request("job"), secrets={}, idempotency_key="1")
    ended(orchestrator_home, "job")
    pid = driver_pid(orchestrator_home)
    assert pid is not None
    taken = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken + 6, 4096))
    connections = [connect_driver(orchestrator_home) for _ in range(20)]
    log = orchestrator_home / "driver.log"
    eventually(lambda: "a connection cannot be accepted" in log.read_text())
    before = cpu_seconds(pid)
    threading.Event().wait(1)  # what it does in a second
    assert cpu_seconds(pid) - before < 0.3
    assert len(log.read_text().splitlines()) < 20
    for connection in connections:
        if connection is not None:
            connection.close()
    other = LocalTransport(orchestrator_home)
    assert other.describe("job")["status"] == "Completed"
    other.submit(request("next"), secrets={}, idempotency_key="2")
    assert ended(orchestrator_home, "next").status == "Completed"
    other.close()
    assert driver_pid(orchestrator_home) == pid


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


# -- fault 28 ----------------------------------------------------------------------------------


def damage(path: Path) -> None:
    """Flip bytes of every page but the first two."""
    content = bytearray(path.read_bytes())
    assert len(content) > 3 * 4096
    for page in range(2, len(content) // 4096):
        for offset in range(page * 4096, page * 4096 + 64):
            content[offset] ^= 0xA5
    path.write_bytes(content)


def test_a_damaged_store_is_refused_names_the_backup_and_the_backup_works(
    orchestrator_home: Path, tmp_path: Path
) -> None:
    home = orchestrator_home
    job, gate = gated(home, tmp_path)
    job._transport.submit(request("done"), secrets={}, idempotency_key="1")
    ended(home, "done")
    with closing(open_store(home / "store.sqlite3")) as store:
        backup = store.backup()
    assert backup is not None
    driver = driver_pid(home)
    assert driver is not None
    kill(driver)
    job._transport.close()
    with closing(sqlite3.connect(home / "store.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(home / "store.sqlite3")
    kept = (home / "store.sqlite3").read_bytes()

    transport = LocalTransport(home)
    with pytest.raises(StoreDamaged, match=f"newest backup, {backup}") as refusal:
        transport.submit(request("new"), secrets={}, idempotency_key="2")
    assert "is damaged" in refusal.value.message
    assert is_alive(supervisor_of(home, job.name))  # what runs is left alone
    eventually(lambda: not drivers_of(home))
    assert (home / "store.sqlite3").read_bytes() == kept  # and nothing was made worse

    for name in ("store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"):
        (home / name).unlink(missing_ok=True)
    shutil.copyfile(backup, home / "store.sqlite3")
    gate.open()
    job = TrainingJob.get(job.name, transport).wait(timeout_seconds=60)
    assert (job.status, job.record.attempt, runs(home, job.name)) == ("Completed", 1, 1)
    assert stored(home, "done").status == "Completed"
    transport.submit(request("new"), secrets={}, idempotency_key="2")
    assert ended(home, "new").status == "Completed"
    transport.close()


@pytest.mark.parametrize(
    "content", [None, b"", b"this is no database\n" * 500, b"SQLite format 3\0"]
)
def test_what_is_no_database_is_not_taken_for_an_empty_one(
    content: bytes | None, orchestrator_home: Path
) -> None:
    """None: it is missing."""
    transport = LocalTransport(orchestrator_home)
    transport.submit(request("job"), secrets={}, idempotency_key="1")
    ended(orchestrator_home, "job")
    with closing(open_store(orchestrator_home / "store.sqlite3")) as store:
        backup = store.backup()
    assert backup is not None
    end_driver(orchestrator_home)
    transport.close()
    path = orchestrator_home / "store.sqlite3"
    for name in ("store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"):
        (orchestrator_home / name).unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    transport = LocalTransport(orchestrator_home)
    with pytest.raises(StoreError, match=r"store\.sqlite3") as refusal:
        transport.list_jobs()
    with pytest.raises(StoreError, match=r"store\.sqlite3"):
        transport.submit(request("new"), secrets={}, idempotency_key="2")
    assert (path.read_bytes() if path.exists() else None) == content
    if not content:
        assert isinstance(refusal.value, StoreDamaged)
        assert f"copy the newest backup, {backup}" in refusal.value.message
    eventually(lambda: not drivers_of(orchestrator_home))

    shutil.copyfile(backup, path)
    assert [row["name"] for row in transport.list_jobs()["jobs"]] == ["job"]
    transport.close()


def test_a_home_begins_anew_when_its_jobs_and_backups_are_moved_away(
    orchestrator_home: Path, tmp_path: Path
) -> None:
    transport = LocalTransport(orchestrator_home)
    transport.submit(request("job"), secrets={}, idempotency_key="1")
    ended(orchestrator_home, "job")
    end_driver(orchestrator_home)
    transport.close()
    for name in ("store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"):
        (orchestrator_home / name).unlink(missing_ok=True)
    transport = LocalTransport(orchestrator_home)
    with pytest.raises(StoreDamaged, match="there is no backup") as refusal:
        transport.list_jobs()
    assert f"move {orchestrator_home}/jobs and {orchestrator_home}/backups away" in str(
        refusal.value
    )
    (orchestrator_home / "jobs").rename(tmp_path / "jobs")
    assert transport.list_jobs()["jobs"] == []
    transport.submit(request("job"), secrets={}, idempotency_key="2")
    assert ended(orchestrator_home, "job").status == "Completed"
    transport.close()


def test_a_store_of_a_newer_release_is_refused(orchestrator_home: Path) -> None:
    transport = LocalTransport(orchestrator_home)
    transport.submit(request("job"), secrets={}, idempotency_key="1")
    ended(orchestrator_home, "job")
    end_driver(orchestrator_home)
    transport.close()
    with closing(sqlite3.connect(orchestrator_home / "store.sqlite3")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    transport = LocalTransport(orchestrator_home)
    with pytest.raises(StoreError, match="install a newer orchestrator"):
        transport.submit(request("new"), secrets={}, idempotency_key="2")
    with closing(sqlite3.connect(orchestrator_home / "store.sqlite3")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (REVISION,))
        connection.commit()
    transport.close()

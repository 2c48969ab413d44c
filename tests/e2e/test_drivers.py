"""Notebook, shell and service on one home at once, killed in every order: who drives, and nothing is lost."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator import ModelTrainer, TrainingJob
from orchestrator.embedded import LocalTransport
from orchestrator.errors import NotFound
from orchestrator.scheduler.loop import LEASE_SECONDS
from orchestrator.testing.plugin import driver_pid, end_driver
from tests.e2e.conftest import eventually
from tests.e2e.machine import (
    GATED,
    Gate,
    Other,
    drivers_of,
    ended,
    forkers_of,
    is_alive,
    kill,
    other,
    processes_with,
    runs,
    stored,
    supervisor_of,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Make = Callable[..., ModelTrainer]

SERVICE = """
from orchestrator.server import ServeOptions, serve
serve(options=ServeOptions(port=0), on_ready=lambda server: print("ready", server.url))
"""
"""What `orchestrator serve` does."""

NOTEBOOK = """
import sys
from orchestrator import InputData, ModelTrainer
script, gate, name = sys.argv[1:]
job = ModelTrainer(source_code=script).train(
    [InputData(channel_name="gate", data_source=gate)], wait=False, job_name=name
)
print("submitted", job.name)
job.wait(on_line=lambda line: print("line", line.text), on_change=lambda record: None)
print("ended", job.status.value)
"""
"""A cell that trains and follows, until its kernel is killed."""

SHELL = """
import sys
from orchestrator import InputData, ModelTrainer
script, gate, name = sys.argv[1:]
job = ModelTrainer(source_code=script).train(
    [InputData(channel_name="gate", data_source=gate)], wait=False, job_name=name
)
print("submitted", job.name)
"""
"""`run --detach`."""


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """What the jobs wait for."""
    return Gate(tmp_path / "gate")


@pytest.fixture
def script(tmp_path: Path) -> str:
    """The program of all jobs here."""
    path = tmp_path / "program.py"
    path.write_text(GATED, encoding="utf-8")
    return str(path)


def runs_now(home: Path, name: str) -> bool:
    """Whether a job's program is running."""
    log = home / "jobs" / name / "attempts" / "1" / "algo-1" / "log"
    return log.exists() and b"ready" in log.read_bytes()


def ran_once(home: Path, name: str) -> None:
    """Check a completed job from the disk."""
    job = ended(home, name)
    assert (job.status, job.attempt) == ("Completed", 1)
    assert runs(home, name) == 1
    log = home / "jobs" / name / "attempts" / "1" / "algo-1" / "log"
    assert log.read_bytes() == b"ready\nthrough\n"
    assert list(job.artifacts) == ["model"]


@pytest.mark.parametrize(
    "order", list(itertools.permutations(("service", "notebook", "driver"))), ids="-".join
)
def test_whoever_is_killed_when_jobs_run_on_and_each_runs_once(
    order: tuple[str, ...], orchestrator_home: Path, gate: Gate, script: str
) -> None:
    home = orchestrator_home
    where = str(gate.directory)
    with ExitStack() as stack:
        notebook = stack.enter_context(other(NOTEBOOK, script, where, "cell"))
        notebook.says("submitted")  # to a driver: the service, which comes later, stands by
        service = stack.enter_context(other(SERVICE))
        service.says("ready")
        with other(SHELL, script, where, "detached") as shell:
            shell.says("submitted")
            assert shell.join() == 0
        eventually(lambda: runs_now(home, "cell") and runs_now(home, "detached"))
        assert driver_pid(home) not in {None, service.pid, notebook.pid}
        victims = {"service": service.kill, "notebook": notebook.kill}
        for victim in order:
            if victim == "driver":  # whoever drives now
                pid = eventually(lambda: driver_pid(home))
                assert pid is not None
                kill(pid)
            else:
                victims[victim]()
            assert not stored(home, "cell").status.is_terminal
            assert is_alive(supervisor_of(home, "cell"))
            assert is_alive(supervisor_of(home, "detached"))
        gate.open()
        transport = LocalTransport(home)
        try:
            for name in ("cell", "detached"):
                TrainingJob.get(name, transport).wait(timeout_seconds=60)
                ran_once(home, name)
        finally:
            transport.close()


def test_a_detached_job_ends_with_nobody_attached_and_its_driver_ends_too(
    orchestrator_home: Path, gate: Gate, script: str
) -> None:
    with other(SHELL, script, str(gate.directory), "alone") as shell:
        assert shell.join() == 0
    eventually(lambda: runs_now(orchestrator_home, "alone"))
    gate.open()
    ran_once(orchestrator_home, "alone")
    eventually(lambda: not drivers_of(orchestrator_home))
    assert driver_pid(orchestrator_home) is None
    assert not processes_with(str(orchestrator_home / "jobs"))


def test_a_cell_that_follows_a_job_brings_a_new_driver_when_the_old_one_is_killed(
    orchestrator_home: Path, gate: Gate, script: str
) -> None:
    with other(NOTEBOOK, script, str(gate.directory), "cell") as notebook:
        eventually(lambda: runs_now(orchestrator_home, "cell"))
        first = driver_pid(orchestrator_home)
        assert first is not None
        kill(first)
        eventually(lambda: driver_pid(orchestrator_home) not in {None, first})
        gate.open()
        assert notebook.says("ended") == "Completed"
        assert notebook.lines[1:-1] == ["line ready", "line through"]
    ran_once(orchestrator_home, "cell")


def test_a_service_that_stands_by_drives_when_the_driver_is_killed(
    orchestrator_home: Path, gate: Gate, script: str
) -> None:
    home = orchestrator_home
    with other(SHELL, script, str(gate.directory), "job") as shell:
        assert shell.join() == 0
    eventually(lambda: runs_now(home, "job"))
    with other(SERVICE) as service:
        service.says("ready")
        driver = driver_pid(home)
        assert driver not in {None, service.pid}
        kill(driver or 0)
        eventually(lambda: driver_pid(home) == service.pid)
        gate.open()
        ran_once(home, "job")  # read from the disk: no client has helped
        assert not drivers_of(home)


def test_a_service_drives_again_after_a_client_did(
    orchestrator_home: Path, gate: Gate, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole circle: service, detached driver, service."""
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "0.2")
    home = orchestrator_home
    with other(SERVICE) as first:
        first.says("ready")
        assert driver_pid(home) == first.pid
        first.kill()
    with other(SHELL, script, str(gate.directory), "job") as shell:
        assert shell.join() == 0
    with other(SERVICE) as second:
        second.says("ready")
        assert driver_pid(home) not in {None, second.pid}
        gate.open()
        ran_once(home, "job")
        eventually(lambda: driver_pid(home) == second.pid)  # the detached one has ended itself
        with other(SHELL, script, str(gate.directory), "next") as shell:
            assert shell.join() == 0
        ran_once(home, "next")
        assert not drivers_of(home)


def test_a_stopped_driver_that_was_replaced_changes_nothing_when_it_goes_on(
    orchestrator_home: Path, gate: Gate, script: str
) -> None:
    """Fault 10: its writes are refused, and it stands by for the one that replaced it."""
    home = orchestrator_home
    first = Other(SERVICE)
    try:
        first.says("ready")
        with other(SHELL, script, str(gate.directory), "before") as shell:
            assert shell.join() == 0
        eventually(lambda: runs_now(home, "before"))
        first.signal(signal.SIGSTOP)
        (home / "driver.lock").unlink()  # as an impatient person does
        (home / "driver.sock").unlink()
        with other(SERVICE) as second:
            second.says("ready")
            with other(SHELL, script, str(gate.directory), "during") as shell:
                assert shell.join() == 0
            eventually(lambda: runs_now(home, "during"))
            first.signal(signal.SIGCONT)
            eventually(lambda: any("another driver has taken over" in x for x in first.lines))
            assert (home / "driver.sock").exists()  # the new one's, not taken away
            gate.open()
            for name in ("before", "during"):
                ran_once(home, name)
            assert driver_pid(home) == second.pid
        # The second was killed at the end of the block: the first one drives again.
        eventually(lambda: driver_pid(home) == first.pid)
        with other(SHELL, script, str(gate.directory), "after") as shell:
            assert shell.join() == 0
        ran_once(home, "after")
        assert not drivers_of(home)
    finally:
        first.end()


def test_a_driver_that_is_stopped_for_a_while_goes_on_where_it_was(
    orchestrator_home: Path, gate: Gate, script: str
) -> None:
    with other(SHELL, script, str(gate.directory), "job") as shell:
        assert shell.join() == 0
    eventually(lambda: runs_now(orchestrator_home, "job"))
    pid = driver_pid(orchestrator_home)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    gate.open()
    exit_record = orchestrator_home / "jobs" / "job" / "attempts" / "1" / "algo-1" / "exit.json"
    eventually(exit_record.exists)  # the supervisor needs nobody
    assert not stored(orchestrator_home, "job").status.is_terminal
    os.kill(pid, signal.SIGCONT)
    ran_once(orchestrator_home, "job")


def test_of_five_drivers_started_at_once_one_drives(
    orchestrator_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 8."""
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "60")
    reader, writer = os.pipe()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator.embedded", str(orchestrator_home), str(writer)],
            pass_fds=(writer,),
            cwd="/",
        )
        for _ in range(5)
    ]
    os.close(writer)
    for process in started:
        assert process.wait(60) == 0  # each has left a child behind
    with os.fdopen(reader) as told:
        lines = sorted(told.read().splitlines())
    assert lines == ['{"other": true}'] * 4 + ['{"ready": true}']


def test_sixteen_clients_of_a_new_home_start_one_driver(
    orchestrator_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "5")
    answers: list[str] = []

    def ask() -> None:
        transport = LocalTransport(orchestrator_home)
        try:
            transport.stop("nobody")
        except NotFound as error:
            answers.append(error.message)
        transport.close()

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 16
    assert len(drivers_of(orchestrator_home)) == 1
    assert store_driver_token(orchestrator_home) == 1  # nobody else ever held the lease


def store_driver_token(home: Path) -> int:
    """How often a driver has taken the lease."""
    with sqlite3.connect(home / "store.sqlite3") as connection:
        found = connection.execute("SELECT token FROM drivers").fetchone()
    connection.close()
    return int(found[0])


def test_no_submit_is_lost_while_drivers_end_themselves(
    orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drivers without patience, and submits at ever later moments of their end."""
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "0")
    make = trainer("print('done')")
    names = []
    for step in range(12):
        job = make.train(wait=False)
        names.append(job.name)
        ended(orchestrator_home, job.name)  # from the disk: nobody starts a driver meanwhile
        threading.Event().wait(step * 0.015)  # nothing is waited for: which moment it is differs
    for name in names:
        record = stored(orchestrator_home, name)
        assert (record.status, record.attempt) == ("Completed", 1)


def test_a_job_that_a_standing_by_service_accepts_starts_at_once(
    orchestrator_home: Path, gate: Gate, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has nothing to do and would look again in ten seconds: it is poked."""
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "60")
    gate.open()
    with other(SHELL, script, str(gate.directory), "first") as shell:
        assert shell.join() == 0
    ran_once(orchestrator_home, "first")
    driver = driver_pid(orchestrator_home)
    with other(SERVICE) as service:
        url = service.says("ready")
        monkeypatch.setenv("ORCHESTRATOR_URL", url)
        with other(SHELL, script, str(gate.directory), "second") as shell:
            assert shell.join() == 0
        monkeypatch.delenv("ORCHESTRATOR_URL")
        job = ended(orchestrator_home, "second")
        assert driver_pid(orchestrator_home) == driver
    assert job.status == "Completed"
    waited = job.transitions[1].started_at - job.created_at
    assert waited.total_seconds() < LEASE_SECONDS / 6  # an idle driver looks after twice as long


def test_a_driver_whose_lock_is_removed_ends(
    orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "600")
    trainer("print('done')").train()
    pid = driver_pid(orchestrator_home)
    assert pid is not None
    assert is_alive(pid)
    (orchestrator_home / "driver.lock").unlink()
    eventually(lambda: not is_alive(pid))


def test_ending_a_driver_politely_leaves_the_job_running(
    orchestrator_home: Path, gate: Gate, script: str
) -> None:
    with other(SHELL, script, str(gate.directory), "job") as shell:
        assert shell.join() == 0
    eventually(lambda: runs_now(orchestrator_home, "job"))
    end_driver(orchestrator_home)
    assert is_alive(supervisor_of(orchestrator_home, "job"))
    gate.open()
    transport = LocalTransport(orchestrator_home)
    TrainingJob.get("job", transport).wait(timeout_seconds=60)
    transport.close()
    ran_once(orchestrator_home, "job")


@pytest.mark.skipif(sys.platform != "linux", reason="supervisors are forked on Linux only")
@pytest.mark.parametrize("how", ["killed", "ended"])
def test_who_forks_supervisors_ends_with_the_driver_and_supervisors_do_not(
    orchestrator_home: Path, gate: Gate, script: str, how: str
) -> None:
    home = orchestrator_home
    with other(SHELL, script, str(gate.directory), "job") as shell:
        assert shell.join() == 0
    eventually(lambda: runs_now(home, "job"))
    supervisor = supervisor_of(home, "job")
    assert supervisor in forkers_of(home)
    assert len(forkers_of(home)) == 2
    driver = driver_pid(home)
    assert driver is not None
    if how == "killed":
        kill(driver)
    else:
        end_driver(home)
    eventually(lambda: forkers_of(home) == [supervisor])
    gate.open()
    eventually(lambda: not is_alive(supervisor))
    transport = LocalTransport(home)
    TrainingJob.get("job", transport).wait(timeout_seconds=60)
    transport.close()
    ran_once(home, "job")


@pytest.mark.skipif(sys.platform != "linux", reason="supervisors are forked on Linux only")
def test_jobs_start_when_who_forks_supervisors_was_killed(
    orchestrator_home: Path, gate: Gate, script: str
) -> None:
    home = orchestrator_home
    with other(SHELL, script, str(gate.directory), "first") as shell:
        assert shell.join() == 0
    eventually(lambda: runs_now(home, "first"))
    (forker,) = set(forkers_of(home)) - {supervisor_of(home, "first")}
    kill(forker)
    with other(SHELL, script, str(gate.directory), "second") as shell:
        assert shell.join() == 0
    eventually(lambda: runs_now(home, "second"))
    assert forker not in forkers_of(home)
    gate.open()
    for name in ("first", "second"):
        ran_once(home, name)

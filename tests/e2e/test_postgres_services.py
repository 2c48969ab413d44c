"""Two services on one PostgreSQL and one home: one drives, and whatever ends it, no job is lost or runs twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator import InputData, ModelTrainer
from orchestrator.embedded import LocalTransport
from orchestrator.errors import InvalidSpec, OrchestratorError, Unavailable
from orchestrator.failpoints import FAILPOINTS, VARIABLE
from orchestrator.sdk.http import HttpTransport
from orchestrator.server import ServeOptions, start_detached
from orchestrator.service.assemble import open_service
from orchestrator.service.storage import STORAGE_FILE
from orchestrator.settings import Settings
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.store.sql import SqlStore, open_store
from tests.e2e.conftest import eventually
from tests.e2e.machine import (
    Gate,
    Other,
    drivers_of,
    is_alive,
    kill,
    processes_with,
    runs,
    supervisor_of,
)
from tests.plugins.postgres import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.postgres, pytest.mark.timeout(300)]

LEASE_SECONDS = 5
PATIENCE_SECONDS = 90.0

SERVICE = """
from orchestrator.server import ServeOptions, serve
serve(options=ServeOptions(port=0), on_ready=lambda server: print("ready", server.url))
"""
PROGRAM = """
echo run >> /opt/ml/checkpoints/runs
echo ready
while [ -e /opt/ml/input/data/gate ] && [ ! -e /opt/ml/input/data/gate/open ]; do sleep 0.05; done
[ -e /opt/ml/code/program.sh ] || exit 7
echo through
echo w > /opt/ml/model/weights
"""
"""Counts its starts; with a gate, it waits until that is open. Its code must stay where it is."""
LIFE = ["Pending", "Starting", "Downloading", "Training", "Uploading", "Completed"]
HOLDS_LEASE = text(
    "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) "
    "WHERE relation = 'drivers'::regclass AND mode = 'RowExclusiveLock' "
    "AND state = 'idle in transaction'"
)
REPLACED = "another driver has taken over"


@dataclass
class Replica:
    """One service process and a client of it."""

    process: Other
    client: HttpTransport
    program: Path

    @property
    def drives(self) -> bool:
        """Whether it says that it drives."""
        return bool(self.client.info()["driving"])

    def submit(self, name: str, *channels: InputData) -> None:
        """Submit a job through this service."""
        ModelTrainer(
            source_code=str(self.program),
            input_data_config=channels,
            stop_grace_seconds=0,
            transport=self.client,
        ).train(wait=False, job_name=name)

    def is_replaced(self) -> bool:
        """Whether it has noticed that another one drives."""
        return any(REPLACED in line for line in self.process.lines)


@dataclass
class World:
    """One home, one database, and what runs on them."""

    home: Path
    url: str
    store: SqlStore
    stack: ExitStack = field(default_factory=ExitStack)

    def replica(self) -> Replica:
        """Start a service and wait until it answers."""
        process = Other(SERVICE)
        self.stack.callback(process.end)
        client = HttpTransport(process.says("ready", PATIENCE_SECONDS), home=self.home)
        self.stack.callback(client.close)
        return Replica(process, client, self.program)

    @property
    def program(self) -> Path:
        """The program of all jobs."""
        path = self.home.with_name("source") / "program.sh"
        if not path.exists():
            path.parent.mkdir()
            path.write_text(PROGRAM, encoding="utf-8")
        return path

    def pair(self) -> tuple[Replica, Replica]:
        """Start two services; the first one drives."""
        first = self.replica()
        eventually(lambda: first.drives, PATIENCE_SECONDS)
        second = self.replica()
        assert not second.drives
        return first, second

    def job(self, name: str) -> TrainingJobRecord:
        """A job as the database has it."""
        return self.store.get_job(name)

    def ended(self, name: str) -> TrainingJobRecord:
        """Wait, on the database alone, until a job has ended."""
        eventually(lambda: self.job(name).status.is_terminal, PATIENCE_SECONDS)
        return self.job(name)

    def runs_now(self, name: str) -> bool:
        """Whether a job's program is running."""
        log = self.log(name)
        return log.exists() and b"ready" in log.read_bytes()

    def log(self, name: str) -> Path:
        """The log of a job's first attempt."""
        return self.home / "jobs" / name / "attempts" / "1" / "algo-1" / "log"

    def ran_once(self, name: str) -> None:
        """Wait for a job's end, and check that it is right and that nothing was done twice."""
        job = self.ended(name)
        assert (job.status, job.attempt) == ("Completed", 1), job.failure_reason
        assert runs(self.home, name) == 1
        assert self.log(name).read_bytes() == b"ready\nthrough\n"
        exit_record = self.log(name).with_name("exit.json").read_text(encoding="utf-8")
        assert list(job.artifacts) == ["model"], (job, exit_record)
        assert [step.status.value for step in job.transitions] == LIFE

    def leases_taken(self) -> int:
        """How often somebody became the driver."""
        with self.store._database.read() as connection:
            return int(connection.execute(text("SELECT token FROM drivers")).scalar_one())

    def is_clean(self) -> bool:
        """Whether nothing of ended jobs is left to be cleaned up."""
        marks = self.home / "unreleased"
        return not list(marks.iterdir()) and not processes_with(str(self.home / "jobs"))


@pytest.fixture
def world(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A fresh home and database that all processes of the test use."""
    home = tmp_path / "home"
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
    monkeypatch.setenv("ORCHESTRATOR_DATABASE_URL", postgres_url)
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LEASE_SECONDS", str(LEASE_SECONDS))
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "0.2")
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "8")
    store = open_store(postgres_url)
    world = World(home, postgres_url, store)
    try:
        with world.stack:
            yield world
    finally:
        store.close()
        for pid in (*drivers_of(home), *processes_with(str(home / "jobs"))):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """What gated jobs wait for."""
    return Gate(tmp_path / "gate")


# -- who drives --------------------------------------------------------------------------------


def test_one_of_two_services_drives_and_both_take_jobs(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LEASE_SECONDS", "60")
    first, second = world.pair()
    first.submit("one", gate.channel)
    second.submit("two", gate.channel)
    eventually(lambda: world.runs_now("one") and world.runs_now("two"), PATIENCE_SECONDS)
    assert (first.drives, second.drives) == (True, False)
    gate.open()
    for name in ("one", "two"):
        world.ran_once(name)
        assert first.client.describe(name) == second.client.describe(name)
    # Nobody can poke a driver on another machine: an idle one looks by itself, soon enough.
    eventually(world.is_clean, PATIENCE_SECONDS)
    (world.home / "wake.sock").unlink()
    second.submit("three")
    world.ran_once("three")
    assert world.leases_taken() == 1


def test_when_the_driving_service_is_killed_the_other_one_adopts_its_running_jobs(
    world: World, gate: Gate
) -> None:
    first, second = world.pair()
    first.submit("one", gate.channel)
    second.submit("two", gate.channel)
    eventually(lambda: world.runs_now("one") and world.runs_now("two"), PATIENCE_SECONDS)
    began = time.monotonic()
    first.process.kill()
    second.submit("three", gate.channel)  # accepted while nobody drives
    eventually(lambda: second.drives, PATIENCE_SECONDS)
    assert time.monotonic() - began > LEASE_SECONDS / 3  # not before the lease was over
    assert world.leases_taken() == 2
    for name in ("one", "two"):
        assert not world.job(name).status.is_terminal
        assert is_alive(supervisor_of(world.home, name))
    gate.open()
    for name in ("one", "two", "three"):
        world.ran_once(name)
    eventually(world.is_clean, PATIENCE_SECONDS)


def test_a_stopped_driver_whose_lease_ended_writes_nothing_when_it_goes_on(
    world: World, gate: Gate
) -> None:
    """Fault 10, at its worst: it is stopped while it holds the lock of the lease's row."""
    first, second = world.pair()
    first.submit("before", gate.channel)
    stop_in_transaction(world, first)
    eventually(lambda: second.drives, PATIENCE_SECONDS)
    eventually(lambda: world.runs_now("before"), PATIENCE_SECONDS)
    second.submit("during", gate.channel)
    eventually(lambda: world.runs_now("during"), PATIENCE_SECONDS)
    first.process.signal(signal.SIGCONT)
    eventually(first.is_replaced, PATIENCE_SECONDS)
    eventually(lambda: not first.drives, PATIENCE_SECONDS)
    assert second.drives
    first.submit("after", gate.channel)
    gate.open()
    for name in ("before", "during", "after"):
        world.ran_once(name)
    assert world.leases_taken() == 2
    second.process.kill()
    eventually(lambda: first.drives, PATIENCE_SECONDS)  # it has stood by
    first.submit("last")
    world.ran_once("last")
    eventually(world.is_clean, PATIENCE_SECONDS)


def stop_in_transaction(world: World, driving: Replica) -> None:
    """Stop a driver at a moment when it has written in a transaction that is still open."""
    for _ in range(2000):
        driving.process.signal(signal.SIGSTOP)
        with world.store._database.read() as connection:
            if connection.execute(HOLDS_LEASE).first() is not None:
                return
        driving.process.signal(signal.SIGCONT)
        threading.Event().wait(0.005)
    raise AssertionError("it was never seen in the middle of a transaction")


STEPS = [
    ("stop", "place.before_commit"),
    ("stop", "start.after_plan"),
    ("stop", "end.before_commit"),
    ("kill", "place.after_commit"),
    ("kill", "start.after_spawn"),
]
"""What ends the driving service, and where."""
OTHER_ACTORS = ("submit.", "stop.", "retry.", "aside.")
"""Steps of other use cases: tests/e2e/test_crashes.py walks the whole registry."""
ALL_STEPS = [
    (action, name)
    for action in ("stop", "kill")
    for name in FAILPOINTS
    if not name.startswith(OTHER_ACTORS) and (action, name) not in STEPS
]


@pytest.mark.parametrize(
    ("action", "step"),
    [*STEPS, *(pytest.param(*step, marks=pytest.mark.slow) for step in ALL_STEPS)],
)
def test_a_driver_that_is_cut_off_in_a_step_is_replaced_and_the_job_runs_once(
    action: str,
    step: str,
    world: World,
    gate: Gate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stopped one goes on in the middle of the step, when another one has long finished the job."""
    fired = tmp_path / "fired"
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "1")
    monkeypatch.setenv(VARIABLE, f"{step}:{action}:{fired}")
    first = world.replica()
    monkeypatch.delenv(VARIABLE)
    second = world.replica()
    assert first.drives
    if step.startswith("observe."):  # a job that waits for another one is, for sure
        second.submit("holder", gate.channel)
    second.submit("job")
    eventually(fired.exists, PATIENCE_SECONDS)
    gate.open()
    eventually(lambda: second.drives, PATIENCE_SECONDS)
    world.ran_once("job")
    before = world.job("job")
    if action == "stop":
        first.process.signal(signal.SIGCONT)
        eventually(first.is_replaced, PATIENCE_SECONDS)
        eventually(lambda: not first.drives, PATIENCE_SECONDS)
        first.submit("next")
    else:
        first.process.join()
        second.submit("next")
    world.ran_once("next")
    assert world.job("job") == before
    world.ran_once("job")
    eventually(world.is_clean, PATIENCE_SECONDS)


@pytest.mark.parametrize("step", ["stage.before_inputs", "start.after_plan"])
def test_a_driver_that_was_cut_off_leaves_the_running_job_of_its_successor_alone(
    step: str, world: World, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with placing the job's code and starting it, while the job runs."""
    monkeypatch.setenv(VARIABLE, f"{step}:stop:{tmp_path / 'fired'}")
    first = world.replica()
    monkeypatch.delenv(VARIABLE)
    second = world.replica()
    second.submit("job", gate.channel)
    eventually(lambda: second.drives, PATIENCE_SECONDS)
    eventually(lambda: world.runs_now("job"), PATIENCE_SECONDS)
    first.process.signal(signal.SIGCONT)
    eventually(first.is_replaced, PATIENCE_SECONDS)
    eventually(lambda: not first.drives, PATIENCE_SECONDS)  # its last actions are done
    gate.open()
    world.ran_once("job")
    eventually(world.is_clean, PATIENCE_SECONDS)


def test_two_services_in_one_process_do_not_share_a_lease(world: World) -> None:
    with ExitStack() as stack:
        services = [open_service() for _ in range(2)]
        for service in services:
            stack.callback(service.close)
        assert [service.driving.try_start() for service in services] == [True, False]
        services[0].driving.close()
        assert services[1].driving.try_start()


# -- the server --------------------------------------------------------------------------------


def test_a_restart_of_the_server_loses_no_job_and_runs_none_twice(
    world: World, gate: Gate, postgres_server: PostgresServer
) -> None:
    """Fault 29, with jobs running and jobs being submitted through both services."""
    first, second = world.pair()
    first.submit("running", gate.channel)
    eventually(lambda: world.runs_now("running"), PATIENCE_SECONDS)
    accepted: list[str] = []
    wrong: list[OrchestratorError] = []
    enough = threading.Event()

    def submit(replica: Replica, word: str) -> None:
        number = 0
        while not enough.wait(0.3):
            try:
                replica.submit(f"{word}-{number}")
            except OrchestratorError as error:
                wrong.append(error)
                return
            accepted.append(f"{word}-{number}")
            number += 1

    clients = [
        threading.Thread(target=submit, args=pair) for pair in ((first, "a"), (second, "b"))
    ]
    for client in clients:
        client.start()
    for mode in ("immediate", "fast"):
        more(accepted, wrong)
        postgres_server.restart(mode)
    more(accepted, wrong)
    enough.set()
    for client in clients:
        client.join(PATIENCE_SECONDS)
    assert wrong == []
    gate.open()
    for name in ("running", *accepted):
        world.ran_once(name)
    assert first.drives != second.drives
    eventually(world.is_clean, PATIENCE_SECONDS)


def more(accepted: list[str], wrong: list[OrchestratorError]) -> None:
    """Wait until two more jobs were accepted."""
    target = len(accepted) + 2
    eventually(lambda: len(accepted) >= target or wrong, PATIENCE_SECONDS)


def test_while_the_server_is_away_jobs_run_on_and_services_say_why_they_do_not_answer(
    world: World, gate: Gate, postgres_server: PostgresServer
) -> None:
    service = world.replica()
    service.submit("job", gate.channel)
    eventually(lambda: world.runs_now("job"), PATIENCE_SECONDS)
    postgres_server.stop("fast")
    try:
        gate.open()
        exit_record = world.log("job").with_name("exit.json")
        eventually(exit_record.exists, PATIENCE_SECONDS)
    finally:
        postgres_server.start()
    world.ran_once("job")


# -- the home ----------------------------------------------------------------------------------


def test_a_service_with_another_home_is_refused_at_start(world: World, tmp_path: Path) -> None:
    first = world.replica()
    elsewhere = tmp_path / "elsewhere"
    said = r"(?s)must share one home directory.*mount the other services' home"
    with pytest.raises(Unavailable, match=said):
        start_detached(elsewhere, ServeOptions(port=0))
    with pytest.raises(InvalidSpec, match=said):
        open_service(Settings(home=elsewhere))
    local = LocalTransport(elsewhere)
    for call in (local.list_jobs, lambda: local.stop("job")):
        with pytest.raises(InvalidSpec, match=said):
            call()
    local.close()
    assert not (elsewhere / STORAGE_FILE).exists()
    assert not (elsewhere / "store.sqlite3").exists()
    first.submit("job")
    world.ran_once("job")
    link = tmp_path / "mounted"  # the same directory by another path
    link.symlink_to(world.home)
    open_service(Settings(home=link)).close()


def test_a_client_on_a_database_needs_no_service(world: World) -> None:
    """The embedded way: a detached driver holds the lease, and its successor waits for it."""
    local = LocalTransport(world.home)
    world.stack.callback(local.close)
    replica = Replica(Other("pass"), local, world.program)  # type: ignore[arg-type]  # the same calls
    world.stack.callback(replica.process.end)
    replica.submit("one")
    world.ran_once("one")
    eventually(lambda: not drivers_of(world.home), PATIENCE_SECONDS)  # it has ended itself
    replica.submit("two")
    for driver in drivers_of(world.home):
        kill(driver)
    assert local.describe("two")["status"]  # read directly
    replica.submit("three")
    for name in ("two", "three"):
        world.ran_once(name)


def test_sixteen_services_that_open_a_new_home_at_once_agree(world: World) -> None:
    opened: list[Any] = []

    def open_one() -> None:
        try:
            opened.append(open_service(Settings(home=world.home)))
        except OrchestratorError as error:
            opened.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [found for found in opened if isinstance(found, OrchestratorError)]
    for found in opened:
        if found not in errors:
            found.close()
    assert errors == []
    assert len(opened) == 16

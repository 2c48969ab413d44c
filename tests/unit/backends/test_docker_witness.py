"""What is seen of containers after the machine of the service was started again, or its clock set."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime import contract

from orchestrator.backends.base import AttemptContext, HostStatus, Observation
from orchestrator.backends.docker import DockerBackend
from orchestrator.backends.docker_values import LABEL_IDENTITY, DockerSettings, container_name
from orchestrator.errors import BackendError
from orchestrator.testing.backend_contract import Program, Wish, attempt_context, stop_request
from tests.unit.backends.test_docker_engine import FakeDaemon, ManualClock
from tests.unit.backends.test_docker_engine import daemon as daemon
from tests.unit.scheduler.seen import exit_record

HOUR = 3600
HANDLE = {"name": "whatever"}


class JumpingClock(ManualClock):
    """Its wall clock can be set."""

    jumped = 0

    def now(self) -> Any:
        self.seconds += self.jumped
        try:
            return super().now()
        finally:
            self.seconds -= self.jumped


class Machine:
    """A service over an engine, with one host whose supervisor has claimed its directory."""

    def __init__(self, home: Path, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self.clock = JumpingClock()
        self.settings = DockerSettings(
            home=home, runtime=home / "runtime", base_url=f"unix://{daemon.server_address}"
        )
        algorithm = {"training_image": "mine", "container_entrypoint": ["program"]}
        spec = {"backend": "docker", "algorithm_specification": algorithm}
        self.context: AttemptContext = attempt_context(
            home / "jobs" / "demo", Wish(Program.WAITS), spec
        )
        self.directory = self.context.host_directory("algo-1")
        self.directory.mkdir(parents=True)
        self.boot()

    def boot(self) -> None:
        """Start the service again: it remembers nothing."""
        self.backend = DockerBackend(self.settings, lambda *_: None, clock=self.clock)

    def claim(self, boot_id: str) -> Path:
        """Leave the claim of a supervisor."""
        path = self.directory / contract.CLAIM_FILE
        claim = {"pid": 1, "start_time": 5, "boot_id": boot_id, "host": "algo-1", "token": "t"}
        path.write_text(json.dumps(claim))
        return path

    @contextmanager
    def supervised(self) -> Iterator[None]:
        """Hold the lock of a claim as a living supervisor does."""
        descriptor = os.open(self.claim("this boot"), os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    def container(self, status: str, code: int = 0, *, identity: str | None = None) -> None:
        """Let the engine have the host's container."""
        name = container_name(self.settings, self.context, "algo-1")
        state = {"Status": status, "ExitCode": code, "OOMKilled": False, "Error": ""}
        labels = {LABEL_IDENTITY: identity or self.context.identity}
        config = {"Labels": labels, "Tty": True}
        found = {"Name": f"/{name}", "State": state, "Config": config}
        self.daemon.answers[f"GET /containers/{name}/json"] = (200, found)
        self.daemon.answers[f"GET /containers/{name}/logs"] = (200, "no such module")
        self.daemon.answers[f"POST /containers/{name}/kill"] = (204, "")

    def seen(self, handle: Any = None) -> Observation:
        """Look at the host."""
        return self.backend.observe(self.context, "algo-1", handle)


@pytest.fixture
def machine(tmp_path: Path, daemon: FakeDaemon) -> Machine:
    """A machine whose claim is of an earlier boot."""
    made = Machine(tmp_path, daemon)
    made.claim("an earlier boot")
    return made


# -- the machine was started again -------------------------------------------------------------


def test_a_container_that_lives_after_a_reboot_is_running(machine: Machine) -> None:
    """The engine is elsewhere, or restores its containers: its word counts, not the boot id."""
    machine.container("running")
    assert machine.seen().status is HostStatus.RUNNING
    machine.boot()
    assert machine.seen(HANDLE).status is HostStatus.RUNNING


@pytest.mark.parametrize(
    ("code", "words"),
    [(137, "killed from outside"), (255, "ended with code 255 without an exit record")],
)
def test_a_container_that_a_reboot_has_ended_is_lost(
    machine: Machine, code: int, words: str
) -> None:
    machine.container("exited", code)
    seen = machine.seen()
    assert seen.status is HostStatus.LOST
    assert words in seen.detail


def test_a_container_that_is_gone_after_a_reboot_is_lost(machine: Machine) -> None:
    seen = machine.seen()
    assert seen.status is HostStatus.LOST
    assert "its container is gone" in seen.detail


def test_a_container_of_the_same_name_that_is_another_jobs_is_not_ours(machine: Machine) -> None:
    machine.container("running", identity="another")
    assert machine.seen().status is HostStatus.LOST


def test_what_ended_before_the_reboot_has_ended_so(machine: Machine) -> None:
    record = exit_record(code=0) | {"job_name": "demo"}
    (machine.directory / contract.EXIT_FILE).write_text(json.dumps(record))
    seen = machine.seen()
    assert seen.status is HostStatus.EXITED
    assert seen.exit is not None
    assert seen.exit["exit_code"] == 0


def test_while_the_engine_is_not_up_yet_nothing_is_concluded(
    machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "s").unlink()
    assert machine.seen().status is HostStatus.UNREACHABLE


def test_a_supervisor_that_never_began_says_so_after_a_reboot(machine: Machine) -> None:
    (machine.directory / contract.CLAIM_FILE).unlink()
    assert machine.seen().status is HostStatus.ABSENT
    machine.container("created")
    assert machine.seen(HANDLE).status is HostStatus.ABSENT
    machine.container("exited", 1)
    with pytest.raises(BackendError, match="did not start"):
        machine.seen(HANDLE)


# -- the clock was set -------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_grace_is_as_long_as_it_is_whatever_the_clock_did(machine: Machine, jump: int) -> None:
    machine.container("running")
    request = stop_request() | {"requested_at": machine.clock.seconds, "grace_seconds": 30.0}
    with machine.supervised():
        machine.backend.stop(machine.context, "algo-1", None, request)
        machine.clock.jumped = jump
        machine.clock.seconds += 30 + machine.settings.kill_slack_seconds - 1
        assert machine.seen().status is HostStatus.RUNNING
        assert not (machine.directory / contract.EXIT_FILE).exists()
        machine.clock.seconds += 2
        machine.seen()
        record = json.loads((machine.directory / contract.EXIT_FILE).read_text())
    assert record["outcome"] == "stopped"
    assert record["message"].startswith("it did not end within its grace")


@pytest.mark.parametrize("jump", [HOUR * 24, -HOUR])
def test_the_time_limit_does_not_come_with_a_jump(machine: Machine, jump: int) -> None:
    machine.container("running")
    with machine.supervised():
        assert machine.seen().status is HostStatus.RUNNING
        machine.clock.jumped = jump
        machine.clock.seconds += 60
        assert machine.seen().status is HostStatus.RUNNING
        assert not (machine.directory / contract.EXIT_FILE).exists()

"""What every back end must do; subclass it and give the fixture ``harness``."""

# ruff: noqa: D102 - each test is named as a sentence

from __future__ import annotations

import io
import json
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from orchestrator_runtime import contract

from orchestrator import ids
from orchestrator.backends.base import AttemptContext, Backend, Handle, HostStatus, Observation
from orchestrator.clock import SystemClock
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import HostRecord

if TYPE_CHECKING:
    from orchestrator_runtime.contract import ExitRecord, StopRequest

ENDED = frozenset({HostStatus.EXITED, HostStatus.LOST})


class Program(StrEnum):
    """The programs that the contract runs."""

    SUCCEEDS = "succeeds"  # prints "ready", writes a model, exits 0
    FAILS = "fails"  # exits 3
    WAITS = "waits"  # prints "ready", runs until SIGTERM, then exits 0
    IGNORES_STOP = "ignores-stop"  # prints "ready", runs for ever, whatever it is asked

    @property
    def source(self) -> str:
        """The program as a Python script for a real back end."""
        return _SOURCES[self]


_SOURCES = {
    Program.SUCCEEDS: """
import os, pathlib
print("ready", flush=True)
pathlib.Path(os.environ["SM_MODEL_DIR"], "weights").write_text("trained")
""",
    Program.FAILS: """
raise SystemExit(3)
""",
    Program.WAITS: """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
while True:
    time.sleep(60)
""",
    Program.IGNORES_STOP: """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    time.sleep(60)
""",
}


@dataclass(frozen=True)
class Wish:
    """What a test wants to run.

    Attributes:
        spec: Further members of the specification.
    """

    program: Program
    hosts: int = 1
    attempt: int = 1
    secrets: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)


class BackendHarness(ABC):
    """Gives the contract a back end and the ways to disturb it."""

    backend: Backend
    patience_seconds: float = 60

    @abstractmethod
    def restarted(self) -> Backend:
        """Return a new back-end object over the same engine: the driver was replaced."""

    @abstractmethod
    def context(self, wish: Wish) -> AttemptContext:
        """Return the context of an attempt that runs a program; nothing is started."""

    @abstractmethod
    def kill(self, context: AttemptContext, host: str) -> None:
        """End a running host from outside, behind the back end's back."""

    @abstractmethod
    def leftovers(self, context: AttemptContext) -> list[str]:
        """Return what an attempt has left on the engine: containers, networks, processes."""

    # -- what tests do with it -------------------------------------------------------------

    def start(self, context: AttemptContext) -> dict[str, Handle]:
        """Stage and start all hosts."""
        self.backend.stage(context)
        return {member.host: self.backend.start(context, member.host) for member in context.hosts}

    def until(
        self, wanted: Callable[[], bool], what: str, *, seconds: float | None = None
    ) -> None:
        """Wait for something that the outside world brings about."""
        deadline = time.monotonic() + (seconds or self.patience_seconds)
        while not wanted():
            if time.monotonic() > deadline:
                pytest.fail(f"waited in vain for: {what}")
            time.sleep(0.01)

    def ended(self, context: AttemptContext, host: str, handle: Handle | None) -> Observation:
        """Wait until a host has ended; return what is seen then."""
        seen: list[Observation] = []

        def over() -> bool:
            seen.append(self.backend.observe(context, host, handle))
            return seen[-1].status in ENDED

        self.until(over, f"the end of {host}")
        return seen[-1]

    def nothing_left(self, context: AttemptContext) -> None:
        """Wait until an attempt has left nothing: a supervisor ends after its exit record."""
        self.until(lambda: self.leftovers(context) == [], "nothing to be left")

    def ready(self, context: AttemptContext, host: str = "algo-1") -> None:
        """Wait until a program has printed ``ready``."""
        log = context.host_directory(host) / contract.LOG_FILE
        self.until(lambda: log.exists() and b"ready" in log.read_bytes(), f"{host} to be ready")


def attempt_context(
    job_directory: Path, wish: Wish, spec: Mapping[str, Any], *, number: int = 1
) -> AttemptContext:
    """Return the context of an attempt of a job with this specification.

    Args:
        job_directory: The job's folder; its name is the job's.
        wish: Hosts, attempt, secrets and further members of the specification.
        spec: The specification, less its name and hosts.
        number: The job's number.
    """
    name = job_directory.name
    parsed = TrainingJobSpec.parse(
        {
            "training_job_name": name,
            "resource_config": {"instance_count": wish.hosts},
            "secrets": tuple(wish.secrets),
            **spec,
            **wish.spec,
        }
    )
    members = tuple(
        HostRecord(host=host, rank=rank, instance_group=group, instance_type=kind)
        for rank, (host, group, kind) in enumerate(parsed.hosts)
    )
    return AttemptContext(
        spec=parsed,
        arn=ids.training_job_arn(name),
        number=number,
        identity=f"{number}-0",
        attempt=wish.attempt,
        hosts=members,
        job_directory=job_directory,
        secrets=dict(wish.secrets),
    )


def write_source(archive: Path, files: Mapping[str, str]) -> Path:
    """Write a source archive with these files."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return archive


def stop_request(intent: str = "user_stop", grace_seconds: float = 30) -> StopRequest:
    """Return a request to stop, made now."""
    now = SystemClock().now().timestamp()
    return {"intent": intent, "requested_at": now, "grace_seconds": grace_seconds}


def exit_of(seen: Observation) -> ExitRecord:
    """Return the exit record of a host that must have one."""
    assert seen.exit is not None, seen
    return seen.exit


class BackendContract:
    """Shared tests; a subclass provides the fixture ``harness``."""

    @pytest.fixture
    def harness(self) -> BackendHarness:
        """Return the back end under test."""
        raise NotImplementedError

    # Plans.

    def test_a_plan_is_plain_json_for_every_host_and_always_the_same(
        self, harness: BackendHarness
    ) -> None:
        context = harness.context(Wish(Program.SUCCEEDS, hosts=2))
        plan = harness.backend.plan(context)
        assert sorted(plan) == ["algo-1", "algo-2"]
        assert json.loads(json.dumps(plan)) == harness.backend.plan(context)

    def test_a_secret_is_in_no_plan_and_no_file_once_the_job_runs(
        self, harness: BackendHarness
    ) -> None:
        context = harness.context(Wish(Program.WAITS, secrets={"API_TOKEN": "s3cr3t-value"}))
        assert "s3cr3t-value" not in json.dumps(harness.backend.plan(context))
        handles = harness.start(context)
        harness.ready(context)
        files = [path for path in context.host_directory("algo-1").rglob("*") if path.is_file()]
        assert not [path for path in files if b"s3cr3t-value" in path.read_bytes()]
        harness.backend.stop(context, "algo-1", handles["algo-1"], stop_request())
        harness.ended(context, "algo-1", handles["algo-1"])
        harness.backend.release(context)

    # From start to end.

    def test_a_host_that_was_never_started_is_absent(self, harness: BackendHarness) -> None:
        context = harness.context(Wish(Program.SUCCEEDS))
        assert harness.backend.observe(context, "algo-1", None).status is HostStatus.ABSENT

    def test_a_program_runs_to_its_end(self, harness: BackendHarness) -> None:
        context = harness.context(Wish(Program.SUCCEEDS))
        handles = harness.start(context)
        record = exit_of(harness.ended(context, "algo-1", handles["algo-1"]))
        assert (record["outcome"], record["exit_code"]) == ("exited", 0), record
        assert [phase["phase"] for phase in record["phases"]][-2:] == ["Training", "Uploading"]
        assert "model" in record["artifacts"]
        path = context.host_directory("algo-1") / record["artifacts"]["model"]["path"]
        assert path.stat().st_size == record["artifacts"]["model"]["bytes"]
        harness.backend.release(context)

    def test_the_exit_code_of_a_failed_program_is_seen(self, harness: BackendHarness) -> None:
        context = harness.context(Wish(Program.FAILS))
        handles = harness.start(context)
        record = exit_of(harness.ended(context, "algo-1", handles["algo-1"]))
        assert (record["outcome"], record["exit_code"]) == ("exited", 3), record
        harness.backend.release(context)

    def test_hosts_of_one_job_end_each_by_itself(self, harness: BackendHarness) -> None:
        context = harness.context(Wish(Program.WAITS, hosts=2))
        handles = harness.start(context)
        for host in handles:
            harness.ready(context, host)
        harness.backend.stop(context, "algo-2", handles["algo-2"], stop_request())
        harness.ended(context, "algo-2", handles["algo-2"])
        seen = harness.backend.observe(context, "algo-1", handles["algo-1"])
        assert seen.status is HostStatus.RUNNING
        harness.backend.stop(context, "algo-1", handles["algo-1"], stop_request())
        harness.ended(context, "algo-1", handles["algo-1"])
        harness.backend.release(context)
        harness.nothing_left(context)

    # Doing things twice, and after a restart.

    def test_a_second_start_gives_the_first_handle_and_starts_nothing(
        self, harness: BackendHarness
    ) -> None:
        context = harness.context(Wish(Program.WAITS))
        handles = harness.start(context)
        harness.ready(context)
        assert harness.start(context) == handles
        assert json.loads(json.dumps(handles)) == handles
        log = context.host_directory("algo-1") / contract.LOG_FILE
        assert log.read_bytes().count(b"ready") == 1
        harness.backend.stop(context, "algo-1", handles["algo-1"], stop_request())
        harness.ended(context, "algo-1", handles["algo-1"])
        harness.backend.release(context)

    def test_a_new_driver_finds_a_running_host_with_and_without_its_handle(
        self, harness: BackendHarness
    ) -> None:
        context = harness.context(Wish(Program.WAITS))
        handles = harness.start(context)
        harness.ready(context)
        harness.backend = harness.restarted()
        for handle in (handles["algo-1"], None):
            seen = harness.backend.observe(context, "algo-1", handle)
            assert seen.status is HostStatus.RUNNING
        assert harness.start(context) == handles
        harness.backend.stop(context, "algo-1", handles["algo-1"], stop_request())
        assert exit_of(harness.ended(context, "algo-1", None))["outcome"] == "stopped"
        harness.backend.release(context)

    def test_the_end_is_seen_by_a_driver_that_came_later(self, harness: BackendHarness) -> None:
        context = harness.context(Wish(Program.FAILS))
        handles = harness.start(context)
        harness.ended(context, "algo-1", handles["algo-1"])
        harness.backend = harness.restarted()
        seen = harness.backend.observe(context, "algo-1", handles["algo-1"])
        assert exit_of(seen)["exit_code"] == 3
        harness.backend.release(context)

    # Stops.

    def test_a_stop_reaches_the_program_and_keeps_its_intent(
        self, harness: BackendHarness
    ) -> None:
        context = harness.context(Wish(Program.WAITS))
        handles = harness.start(context)
        harness.ready(context)
        for _ in range(2):
            harness.backend.stop(
                context, "algo-1", handles["algo-1"], stop_request("early_stopped")
            )
        record = exit_of(harness.ended(context, "algo-1", handles["algo-1"]))
        assert (record["outcome"], record["stop_intent"]) == ("stopped", "early_stopped")
        harness.backend.release(context)

    def test_a_program_that_ignores_the_stop_is_killed_at_the_end_of_the_grace(
        self, harness: BackendHarness
    ) -> None:
        context = harness.context(Wish(Program.IGNORES_STOP))
        handles = harness.start(context)
        harness.ready(context)
        request = stop_request(grace_seconds=0.5)
        harness.backend.stop(context, "algo-1", handles["algo-1"], request)
        record = exit_of(harness.ended(context, "algo-1", handles["algo-1"]))
        assert record["outcome"] == "stopped"
        assert record["ended_at"] >= request["requested_at"] + 0.4
        harness.backend.release(context)
        harness.nothing_left(context)

    def test_a_host_stopped_before_its_start_never_starts(self, harness: BackendHarness) -> None:
        context = harness.context(Wish(Program.SUCCEEDS))
        harness.backend.stage(context)
        harness.backend.stop(context, "algo-1", None, stop_request())
        handle = harness.backend.start(context, "algo-1")
        record = exit_of(harness.ended(context, "algo-1", handle))
        assert (record["outcome"], record["started_at"]) == ("stopped", None)
        harness.backend.release(context)
        harness.nothing_left(context)

    # What happens behind the back end's back.

    def test_a_host_killed_from_outside_is_lost(self, harness: BackendHarness) -> None:
        context = harness.context(Wish(Program.WAITS))
        handles = harness.start(context)
        harness.ready(context)
        harness.kill(context, "algo-1")
        seen = harness.ended(context, "algo-1", handles["algo-1"])
        assert (seen.status, seen.exit) == (HostStatus.LOST, None)
        assert seen.detail
        harness.backend.release(context)
        harness.nothing_left(context)

    # After the end.

    def test_release_leaves_nothing_but_records_and_artifacts_and_may_come_twice(
        self, harness: BackendHarness
    ) -> None:
        context = harness.context(Wish(Program.SUCCEEDS))
        handles = harness.start(context)
        record = exit_of(harness.ended(context, "algo-1", handles["algo-1"]))
        harness.backend.release(context)
        harness.backend.release(context)
        harness.nothing_left(context)
        directory = context.host_directory("algo-1")
        assert b"ready" in (directory / contract.LOG_FILE).read_bytes()
        assert (directory / record["artifacts"]["model"]["path"]).exists()
        assert not (directory / contract.ML_DIRECTORY).exists()
        seen = harness.backend.observe(context, "algo-1", handles["algo-1"])
        assert exit_of(seen)["outcome"] == "exited"

    def test_release_of_an_attempt_that_never_started_is_no_error(
        self, harness: BackendHarness
    ) -> None:
        harness.backend.release(harness.context(Wish(Program.SUCCEEDS)))

    def test_a_closed_back_end_leaves_hosts_running(self, harness: BackendHarness) -> None:
        context = harness.context(Wish(Program.WAITS))
        handles = harness.start(context)
        harness.ready(context)
        harness.backend.close()
        harness.backend.close()
        harness.backend = harness.restarted()
        seen = harness.backend.observe(context, "algo-1", handles["algo-1"])
        assert seen.status is HostStatus.RUNNING
        harness.backend.stop(context, "algo-1", handles["algo-1"], stop_request())
        harness.ended(context, "algo-1", handles["algo-1"])
        harness.backend.release(context)

    # Answers that need no engine.

    def test_capabilities_are_told(self, harness: BackendHarness) -> None:
        first = harness.backend.capabilities()
        assert first.isolation
        assert harness.backend.capabilities() == first

    def test_a_good_specification_passes_the_check(self, harness: BackendHarness) -> None:
        context = harness.context(Wish(Program.SUCCEEDS))
        assert isinstance(harness.backend.check(context.spec), tuple)

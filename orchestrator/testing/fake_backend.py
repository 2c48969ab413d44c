"""A back end in memory whose hosts do what a script says: for tests of the scheduler.

``FakeEngine`` is the outside world; it outlives ``FakeBackend`` objects as a container engine
outlives drivers, so "the driver was killed" is a new ``FakeBackend`` over the same engine.
Nothing happens by itself: a host moves on only when it is looked at, so every run is the same.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator_runtime import contract

from orchestrator.backends.base import (
    AttemptContext,
    Backend,
    Capabilities,
    Handle,
    HostStatus,
    Observation,
)
from orchestrator.clock import Clock, SystemClock

if TYPE_CHECKING:
    from orchestrator_runtime.contract import (
        ArtifactRecord,
        ExitRecord,
        Outcome,
        PhaseRecord,
        StopRequest,
    )

    from orchestrator.spec.job import TrainingJobSpec

Key = tuple[str, int, str]
"""Job name, attempt, host."""
Step = Literal["check", "stage", "start", "observe", "stop", "release"]


@dataclass(frozen=True)
class Script:
    """What one fake host does.

    Attributes:
        exit_code: Its program's exit code; None = it runs until it is told to end.
        looks: How often it is seen running before it ends by itself.
        outcome: The outcome that its exit record says, unless it is stopped.
        signal: The signal that ended it.
        message: The sentence of its exit record.
        on_stop: ``exit`` ends at the next look, ``ignore`` at the end of the grace,
            ``hang`` never.
        log: What it prints; written to the host directory when it starts.
        artifacts: Content of ``model`` and ``output`` archives; written when it ends.
    """

    exit_code: int | None = 0
    looks: int = 1
    outcome: Outcome = "exited"
    signal: int | None = None
    message: str = ""
    on_stop: Literal["exit", "ignore", "hang"] = "exit"
    log: bytes = b""
    artifacts: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class FakeHost:
    """One host in the fake world."""

    key: Key
    directory: Path
    script: Script
    started: bool
    looks: int = 0
    stop: StopRequest | None = None
    kill_at: float = 0.0
    exit: ExitRecord | None = None
    lost: bool = False
    phases: list[PhaseRecord] = field(default_factory=list)

    @property
    def living(self) -> bool:
        """Whether its program runs."""
        return self.started and self.exit is None and not self.lost


@dataclass
class _Fault:
    step: Step
    error: Exception
    after: bool


class FakeEngine:
    """The world that fake hosts live in, and the levers that tests pull.

    Args:
        clock: Gives the times of records, and ends graces.
        script_for: Chooses a host's script when it starts; None = ``Script()`` for all.

    Attributes:
        starts: Every real start, in order; adopting is none.
        violations: Broken promises: a second attempt started while one was alive.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        script_for: Callable[[AttemptContext, str], Script] | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.script_for = script_for or (lambda _context, _host: Script())
        self.reachable = True
        self.hosts: dict[Key, FakeHost] = {}
        self.starts: list[Key] = []
        self.staged: list[tuple[str, int]] = []
        self.released: list[tuple[str, int]] = []
        self.violations: list[str] = []
        self.lock = threading.RLock()
        self._faults: deque[_Fault] = deque()

    # -- levers ----------------------------------------------------------------------------

    def fail(
        self, step: Step, error: Exception, *, times: int = 1, after_effect: bool = False
    ) -> None:
        """Let the next calls of a step raise.

        Args:
            step: The method of the back end.
            error: What it raises.
            times: How many calls fail.
            after_effect: The effect happens, only the answer is lost.
        """
        with self.lock:
            self._faults.extend(_Fault(step, error, after_effect) for _ in range(times))

    def exit(
        self,
        job: str,
        host: str = "algo-1",
        *,
        code: int | None = 0,
        outcome: Outcome = "exited",
        signal: int | None = None,
        message: str = "",
    ) -> None:
        """End a running host as if by itself."""
        with self.lock:
            found = self.living(job, host)
            self._end(found, outcome=outcome, code=code, signal=signal, message=message)

    def enter(self, job: str, phase: str, host: str = "algo-1") -> None:
        """Let a running host reach a phase."""
        with self.lock:
            self._enter(self.living(job, host), phase)

    def lose(self, job: str, host: str = "algo-1") -> None:
        """Let a running host disappear without an exit record."""
        with self.lock:
            self.living(job, host).lost = True

    def living(self, job: str, host: str = "algo-1") -> FakeHost:
        """Return the running host of a job's newest attempt.

        Raises:
            LookupError: It has none.
        """
        with self.lock:
            found = [h for h in self.hosts.values() if h.key[::2] == (job, host) and h.living]
            if not found:
                raise LookupError(f"no running host {host!r} of job {job!r}")
            return max(found, key=lambda h: h.key[1])

    @property
    def all_living(self) -> list[Key]:
        """The keys of all running hosts."""
        with self.lock:
            return sorted(h.key for h in self.hosts.values() if h.living)

    # -- the world -------------------------------------------------------------------------

    def before(self, step: Step) -> None:
        """Raise a fault that waits for this step and comes before its effect."""
        self._raise(step, after=False)

    def after(self, step: Step) -> None:
        """Raise a fault that waits for this step and comes after its effect."""
        self._raise(step, after=True)

    def _raise(self, step: Step, *, after: bool) -> None:
        with self.lock:
            for fault in self._faults:
                if fault.step == step and fault.after == after:
                    self._faults.remove(fault)
                    raise fault.error

    def claim(self, context: AttemptContext, host: str, *, start: bool) -> FakeHost:
        """Return a host's entry; who comes first decides whether it ever runs."""
        key = (context.spec.training_job_name, context.attempt, host)
        with self.lock:
            known = self.hosts.get(key)
            if known is not None:
                return known
            script = self.script_for(context, host)
            directory = context.host_directory(host)
            self.hosts[key] = known = FakeHost(key, directory, script, started=start)
            if start:
                self._start(known)
            return known

    def _start(self, host: FakeHost) -> None:
        job, attempt, name = host.key
        for other in self.hosts.values():
            if other.living and other.key[0] == job and other.key[1] != attempt:
                self.violations.append(
                    f"attempt {attempt} of {job} started while {other.key} was alive"
                )
        self.starts.append((job, attempt, name))
        self._enter(host, contract.PHASE_TRAINING)
        if host.script.log:
            host.directory.mkdir(parents=True, exist_ok=True)
            (host.directory / contract.LOG_FILE).write_bytes(host.script.log)

    def look(self, host: FakeHost) -> None:
        """Let a host move on, as its script says."""
        with self.lock:
            if not host.living:
                return
            host.looks += 1
            script = host.script
            if host.stop is not None and self._stop_is_due(host):
                self._end(host, outcome="stopped", code=None, signal=15)
            elif host.stop is None and script.exit_code is not None and host.looks > script.looks:
                self._end(
                    host,
                    outcome=script.outcome,
                    code=None if script.signal else script.exit_code,
                    signal=script.signal,
                    message=script.message,
                )

    def ask(self, host: FakeHost, request: StopRequest) -> None:
        """Ask a host to stop; the clock that says what is left of the grace may have jumped."""
        grace = request["grace_seconds"]
        left = request["requested_at"] + grace - self._now()
        host.stop, host.kill_at = request, self.clock.monotonic() + min(max(left, 0), grace)

    def _stop_is_due(self, host: FakeHost) -> bool:
        if host.script.on_stop == "ignore":
            return self.clock.monotonic() >= host.kill_at
        return host.script.on_stop == "exit"

    def _now(self) -> float:
        return self.clock.now().timestamp()

    def _enter(self, host: FakeHost, phase: str) -> None:
        host.phases.append({"phase": phase, "at": self._now()})

    def _end(
        self,
        host: FakeHost,
        *,
        outcome: Outcome,
        code: int | None,
        signal: int | None = None,
        message: str = "",
    ) -> None:
        self._enter(host, contract.PHASE_UPLOADING)
        host.exit = self.record(
            host, outcome=outcome, code=code, signal=signal, message=message or outcome
        )

    def record(
        self,
        host: FakeHost,
        *,
        outcome: Outcome,
        code: int | None,
        signal: int | None,
        message: str,
    ) -> ExitRecord:
        """Return the exit record of a host that ends now; its artifacts are written."""
        job, attempt, name = host.key
        return {
            "format": contract.FORMAT,
            "job_name": job,
            "attempt": attempt,
            "host": name,
            "outcome": outcome,
            "exit_code": code,
            "signal": signal,
            "stop_intent": host.stop["intent"] if host.stop is not None else None,
            "failure": None,
            "message": message,
            "phases": list(host.phases),
            "started_at": host.phases[0]["at"] if host.phases else None,
            "ended_at": self._now(),
            "artifacts": _write_artifacts(host) if host.started else {},
            "log_bytes": len(host.script.log) if host.started else 0,
            "log_truncated": False,
            "records_dropped": 0,
            "peak_memory_bytes": None,
            "limits_by": "none",
            "sandbox": "none",
        }


def _write_artifacts(host: FakeHost) -> dict[str, ArtifactRecord]:
    written: dict[str, ArtifactRecord] = {}
    names = {"model": contract.MODEL_ARCHIVE, "output": contract.OUTPUT_ARCHIVE}
    for kind, content in host.script.artifacts.items():
        path = host.directory / contract.ARTIFACTS_DIRECTORY / names[kind]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written[kind] = {
            "path": f"{contract.ARTIFACTS_DIRECTORY}/{path.name}",
            "bytes": len(content),
            "files": 1,
            "skipped": [],
        }
    return written


class FakeBackend(Backend):
    """Runs hosts in a ``FakeEngine``; holds no state of its own.

    Args:
        engine: The world.
        name: What specs call this back end.
    """

    def __init__(self, engine: FakeEngine, name: str = "process") -> None:
        self.name = name
        self.engine = engine

    def capabilities(self) -> Capabilities:
        """Say that everything can be done."""
        return Capabilities(
            isolation="fake", serves_opt_ml=True, network_isolation=True, limits_memory=True
        )

    def check(self, spec: TrainingJobSpec) -> tuple[str, ...]:
        """Accept every job."""
        del spec
        self.engine.before("check")
        return ()

    def plan(self, context: AttemptContext) -> dict[str, dict[str, Any]]:
        """Return a request per host."""
        environment = dict(context.spec.environment)
        return {
            member.host: {"key": [*_key(context, member.host)], "environment": environment}
            for member in context.hosts
        }

    def stage(self, context: AttemptContext) -> None:
        """Note that inputs were staged."""
        self.engine.before("stage")
        self.engine.staged.append((context.spec.training_job_name, context.attempt))
        self.engine.after("stage")

    def start(self, context: AttemptContext, host: str) -> Handle:
        """Start a host, unless it was started or stopped before."""
        self.engine.before("start")
        self.engine.claim(context, host, start=True)
        self.engine.after("start")
        return {"key": [*_key(context, host)]}

    def observe(self, context: AttemptContext, host: str, handle: Handle | None) -> Observation:
        """Let the host move on by one look, and say what is seen."""
        json.dumps(handle)  # a handle must be plain JSON
        self.engine.before("observe")
        if not self.engine.reachable:
            return Observation(host, HostStatus.UNREACHABLE, detail="the fake engine is away")
        with self.engine.lock:
            found = self.engine.hosts.get(_key(context, host))
            if found is None:
                return Observation(host, HostStatus.ABSENT)
            self.engine.look(found)
            return _observation(host, found)

    def stop(
        self, context: AttemptContext, host: str, handle: Handle | None, request: StopRequest
    ) -> None:
        """Ask a host to stop; one that was never started never will be."""
        del handle
        self.engine.before("stop")
        with self.engine.lock:
            found = self.engine.claim(context, host, start=False)
            if found.stop is None:
                self.engine.ask(found, request)
            if not found.started and found.exit is None:
                message = "stopped before the program was started"
                found.exit = self.engine.record(
                    found, outcome="stopped", code=None, signal=None, message=message
                )
        self.engine.after("stop")

    def release(self, context: AttemptContext) -> None:
        """Forget that anything ran: a host that is still alive is killed."""
        self.engine.before("release")
        attempt = (context.spec.training_job_name, context.attempt)
        with self.engine.lock:
            for found in self.engine.hosts.values():
                if found.key[:2] == attempt and found.living:
                    found.lost = True
            self.engine.released.append(attempt)
        self.engine.after("release")

    def close(self) -> None:
        """Do nothing: the engine lives on."""


def _key(context: AttemptContext, host: str) -> Key:
    return (context.spec.training_job_name, context.attempt, host)


def _observation(host: str, found: FakeHost) -> Observation:
    phases = tuple(found.phases)
    if found.exit is not None:
        return Observation(host, HostStatus.EXITED, phases, exit=found.exit)
    if found.lost:
        return Observation(host, HostStatus.LOST, phases, detail="it disappeared")
    return Observation(host, HostStatus.RUNNING, phases)

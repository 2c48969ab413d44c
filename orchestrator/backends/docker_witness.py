"""Looks at one host: its directory from inside, the engine as the witness from outside.

As long as the claim is locked the host lives, and the engine is not asked. The engine's word is
needed for hosts that end without a record, and for failed programs with a memory limit.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator_runtime import contract

from orchestrator.backends import claims, docker_outside, docker_records, staging
from orchestrator.backends.base import AttemptContext, Handle, HostStatus, Observation
from orchestrator.backends.docker_values import LABEL_IDENTITY, DockerSettings, container_name
from orchestrator.errors import BackendError, EngineUnreachable

if TYPE_CHECKING:
    from orchestrator_runtime.contract import ExitRecord, Outcome, StopRequest

    from orchestrator.backends.docker_engine import ContainerState, Engine
    from orchestrator.backends.docker_outside import OutsideSupervisors
    from orchestrator.clock import Clock

LINGER_SECONDS = 0.05
"""How long a supervisor may take to end once it has written its exit record."""
SIGKILL_CODE = 137


class Witness:
    """Observes the hosts of one back end.

    Args:
        settings: Of the back end.
        engine: The engine.
        outside: The supervisors beside the service.
        clock: Measures deadlines.
    """

    def __init__(
        self,
        settings: DockerSettings,
        engine: Engine,
        outside: OutsideSupervisors,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._outside = outside
        self._clock = clock
        self._first_seen: dict[Path, float] = {}
        self._stops: dict[Path, StopRequest] = {}
        self._stops_due: dict[Path, float] = {}
        self._settled: set[Path] = set()

    def note_stop(self, directory: Path, request: StopRequest) -> None:
        """Remember when a host that was asked to stop must have ended."""
        self._stops[directory] = request
        self._stop_due(directory, request)

    def forget(self, directory: Path) -> None:
        """Forget a host that is released."""
        self._first_seen.pop(directory, None)
        self._stops.pop(directory, None)
        self._stops_due.pop(directory, None)
        self._settled.discard(directory)

    def observe(self, context: AttemptContext, host: str, handle: Handle | None) -> Observation:
        """Return what is seen of a host.

        Raises:
            BackendError: Its supervisor could not start.
        """
        directory = context.host_directory(host)
        alive = claims.is_alive(directory)
        # The exit record is written before the lock goes, so it is read after the lock was seen.
        record = docker_records.read_exit(directory, context, host)
        if alive and (record is None or _lingers(directory)):
            return self._living(context, host)
        try:
            if record is not None:
                return self._ended(context, host, record)
            return self._without_record(context, host, handle)
        except EngineUnreachable as error:
            phases = docker_records.read_phases(directory)
            return Observation(host, HostStatus.UNREACHABLE, phases, detail=error.message)

    # -- alive -----------------------------------------------------------------------------

    def _living(self, context: AttemptContext, host: str) -> Observation:
        directory = context.host_directory(host)
        overdue = self._overdue(context, directory)
        if overdue is not None:
            self._put_down(context, host, *overdue)
        return Observation(host, HostStatus.RUNNING, docker_records.read_phases(directory))

    def _overdue(self, context: AttemptContext, directory: Path) -> tuple[Outcome, str] | None:
        """Return why a host should have ended by now; its own supervisor failed to see to it."""
        slack = self._settings.kill_slack_seconds
        stop = self._stops.get(directory) or docker_records.read_stop(directory)
        due = self._stop_due(directory, stop) if stop is not None else float("inf")
        if self._clock.monotonic() > due + slack:
            return "stopped", "it did not end within its grace"
        spec = context.spec
        limit = spec.stopping_condition.max_runtime_in_seconds + spec.stop_grace_seconds + slack
        now = self._clock.monotonic()
        if now - self._first_seen.setdefault(directory, now) > limit:
            return "max_runtime", "it did not end at the time limit"
        return None

    def _stop_due(self, directory: Path, stop: StopRequest) -> float:
        """Return when a grace is over, by a clock that does not jump: found out at first sight."""
        grace = stop["grace_seconds"]
        left = stop["requested_at"] + grace - self._clock.now().timestamp()
        due = self._clock.monotonic() + min(max(left, 0), grace)
        return self._stops_due.setdefault(directory, due)

    def _put_down(self, context: AttemptContext, host: str, outcome: Outcome, why: str) -> None:
        directory = context.host_directory(host)
        stop = self._stops.get(directory) or docker_records.read_stop(directory)
        record = docker_records.new_exit(
            directory,
            context,
            host,
            outcome=outcome,
            message=f"{why}, and its container was killed by the service",
            ended_at=self._clock.now().timestamp(),
            stop_intent=stop["intent"] if stop else None,
        )
        try:
            self._engine.signal(container_name(self._settings, context, host), "SIGKILL")
        except EngineUnreachable:
            return  # the next look tries again
        if docker_outside.is_outside(directory):
            docker_outside.end(directory)
        staging.write_json(directory / contract.EXIT_FILE, record)

    # -- ended, with a record --------------------------------------------------------------

    def _ended(self, context: AttemptContext, host: str, record: ExitRecord) -> Observation:
        directory = context.host_directory(host)
        if directory not in self._settled:
            if docker_outside.is_outside(directory):
                lost = self._settle_outside(context, host, record)
            else:
                lost = None
                if not self._settle_inside(context, host, record):
                    phases = tuple(record["phases"])
                    return Observation(host, HostStatus.RUNNING, phases)
            if lost is not None:
                return lost
            self._settled.add(directory)
        return Observation(host, HostStatus.EXITED, tuple(record["phases"]), exit=record)

    def _settle_inside(self, context: AttemptContext, host: str, record: ExitRecord) -> bool:
        """Complete a record by what the engine knows; False while it does not know yet."""
        limited = context.spec.resources.memory_gib is not None
        if not limited or not _failed(record):
            return True
        state = self._engine.container(container_name(self._settings, context, host))
        if state is None:
            return True
        if not state.ended:
            return False
        if state.out_of_memory:
            self._was_out_of_memory(context, host, record)
        return True

    def _settle_outside(
        self, context: AttemptContext, host: str, record: ExitRecord
    ) -> Observation | None:
        """Complete a record by what ``docker_attach`` left; return the host's loss, if it is lost."""
        directory = context.host_directory(host)
        self._outside.reap()
        record["peak_memory_bytes"] = None  # it is that of what ran the container
        end = docker_outside.read_end(directory)
        if end is None:  # it was killed at the end of the grace: the container may still run
            if record["started_at"] is not None:
                self._engine.signal(container_name(self._settings, context, host), "SIGKILL")
            return None
        if record["outcome"] != "exited":
            return None
        if "error" in end:
            record["outcome"], record["message"] = "not_started", str(end["error"])
        elif end.get("out_of_memory") and _failed(record):
            self._was_out_of_memory(context, host, record)
        elif end.get("gone") or end.get("killed"):
            detail = _LOSSES["gone" if end.get("gone") else "killed"]
            return Observation(host, HostStatus.LOST, tuple(record["phases"]), detail=detail)
        return None

    def _was_out_of_memory(self, context: AttemptContext, host: str, record: ExitRecord) -> None:
        gib = context.spec.resources.memory_gib
        told = record["message"]
        record["outcome"] = "out_of_memory"
        record["message"] = f"the memory limit of {gib:g} GiB was reached: {told}"
        record["limits_by"] = f"cgroup-v{self._engine.facts().cgroup_version}"
        staging.write_json(context.host_directory(host) / contract.EXIT_FILE, record)

    # -- no record -------------------------------------------------------------------------

    def _without_record(
        self, context: AttemptContext, host: str, handle: Handle | None
    ) -> Observation:
        directory = context.host_directory(host)
        claimed = claims.is_claimed(directory)
        if docker_outside.is_outside(directory):
            return self._outside_without_record(context, host, claimed=claimed)
        if handle is None and not claimed:
            return Observation(host, HostStatus.ABSENT)
        phases = docker_records.read_phases(directory)
        state = self._engine.container(container_name(self._settings, context, host))
        if state is None or state.labels.get(LABEL_IDENTITY) != context.identity:
            return Observation(host, HostStatus.LOST, phases, detail=_LOSSES["gone"])
        if state.status == "created" and not claimed:
            return Observation(host, HostStatus.ABSENT)
        if not state.ended:
            return Observation(host, HostStatus.RUNNING, phases)
        record = docker_records.read_exit(directory, context, host)  # written in between?
        if record is not None:
            return self._ended(context, host, record)
        return self._died(context, host, state, claimed=claimed)

    def _died(
        self, context: AttemptContext, host: str, state: ContainerState, *, claimed: bool
    ) -> Observation:
        directory = context.host_directory(host)
        if state.out_of_memory:
            record = docker_records.new_exit(
                directory,
                context,
                host,
                outcome="out_of_memory",
                message="the whole container was killed",
                ended_at=self._clock.now().timestamp(),
                exit_code=state.exit_code,
            )
            self._was_out_of_memory(context, host, record)
            return Observation(host, HostStatus.EXITED, tuple(record["phases"]), exit=record)
        if not claimed:
            words = state.error or self._engine.output(state.name) or "it printed nothing"
            raise BackendError(
                f"the supervisor of {host} did not start (exit code {state.exit_code}): {words}"
            )
        phases = docker_records.read_phases(directory)
        if state.exit_code == SIGKILL_CODE:
            return Observation(host, HostStatus.LOST, phases, detail=_LOSSES["killed"])
        detail = f"its supervisor ended with code {state.exit_code} without an exit record"
        return Observation(host, HostStatus.LOST, phases, detail=detail)

    def _outside_without_record(
        self, context: AttemptContext, host: str, *, claimed: bool
    ) -> Observation:
        directory = context.host_directory(host)
        if not claimed:
            starting = self._outside.starting(directory)
            if starting is None:
                return Observation(host, HostStatus.ABSENT)
            if not starting:
                words = docker_outside.errors(directory)
                raise BackendError(f"the supervisor of {host} did not start: {words}")
            return Observation(host, HostStatus.RUNNING)
        self._engine.signal(container_name(self._settings, context, host), "SIGKILL")
        docker_outside.end(directory)
        self._outside.reap()
        detail = "its supervisor ended without an exit record"
        phases = docker_records.read_phases(directory)
        return Observation(host, HostStatus.LOST, phases, detail=detail)


_LOSSES = {
    "gone": "its container is gone: it was removed behind the service's back",
    "killed": "its container was killed from outside (`docker kill`, or the engine was stopped)",
}


def _failed(record: ExitRecord) -> bool:
    return record["outcome"] == "exited" and record["exit_code"] != 0


def _lingers(directory: Path) -> bool:
    """Return whether a supervisor that has written its record lives on.

    A program can forge a record, but not while its supervisor lives: the lock tells.
    """
    deadline = time.monotonic() + LINGER_SECONDS
    while claims.is_alive(directory):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.001)
    return False

"""What the tests of the scheduler's pure functions are made of: jobs, and hosts as they are seen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.backends.base import HostStatus, Observation
from orchestrator.scheduler.reconcile import placed
from orchestrator.spec.job import Resources, TrainingJobSpec
from orchestrator.spec.record import HostRecord, TrainingJobRecord
from orchestrator.store.base import DriverLease, ResourceLease
from orchestrator.store.memory import MemoryStore

if TYPE_CHECKING:
    from orchestrator_runtime.contract import ExitRecord, Outcome, PhaseRecord

SCOPE = "host:one"
START = datetime(2026, 1, 1, tzinfo=UTC)
RESOURCES = Resources(cpus=1)
ENDED_AT = START.timestamp() + 60


class Desk:
    """A store with one driver: a job, and what becomes of it."""

    def __init__(self, **fields: Any) -> None:
        self.store = MemoryStore()
        lease = self.store.acquire_driver(SCOPE, owner="test", now=START, ttl_seconds=60)
        assert lease is not None
        self.lease: DriverLease = lease
        program = {"algorithm_specification": {"container_entrypoint": ["train"]}}
        spec = TrainingJobSpec.parse({"training_job_name": "job", **program, **fields})
        self.store.create_job(spec, arn="arn:job", now=START)

    @property
    def job(self) -> TrainingJobRecord:
        """The job as it is now."""
        return self.store.get_job("job")

    def place(self, now: datetime = START) -> TrainingJobRecord:
        """Start the next attempt on all of its hosts."""
        hosts = tuple(
            HostRecord(host=name, rank=rank, instance_group=group, instance_type=kind)
            for rank, (name, group, kind) in enumerate(self.job.spec.hosts)
        )
        update = placed(self.job, hosts, SCOPE, now)
        assert self.store.apply([update], self.lease) == [True]
        return self.job

    def apply(self, decision: Any) -> TrainingJobRecord:
        """Save what was decided, if that is anything."""
        if decision.update is not None:
            assert self.store.apply([decision.update], self.lease) == [True]
        return self.job


def exit_record(outcome: Outcome = "exited", code: int | None = 0, **fields: Any) -> ExitRecord:
    """Return the record of a host that ran for a minute."""
    record: ExitRecord = {
        "format": 1,
        "job_name": "job",
        "attempt": 1,
        "host": "algo-1",
        "outcome": outcome,
        "exit_code": code,
        "signal": None,
        "stop_intent": None,
        "failure": None,
        "message": f"the host ended: {outcome}",
        "phases": [],
        "started_at": START.timestamp(),
        "ended_at": ENDED_AT,
        "artifacts": {},
        "log_bytes": 0,
        "log_truncated": False,
        "records_dropped": 0,
        "peak_memory_bytes": None,
        "limits_by": "none",
        "sandbox": "none",
    }
    record.update(fields)  # type: ignore[typeddict-item]  # any field, by name
    return record


def exited(
    outcome: Outcome = "exited", code: int | None = 0, host: str = "algo-1", **fields: Any
) -> Observation:
    """Return what is seen of a host that ended."""
    record = exit_record(outcome, code, **{"host": host, **fields})
    return Observation(host, HostStatus.EXITED, tuple(record["phases"]), exit=record)


def lost(host: str = "algo-1", detail: str = "") -> Observation:
    """Return what is seen of a host that disappeared."""
    return Observation(host, HostStatus.LOST, detail=detail)


def absent(host: str = "algo-1") -> Observation:
    """Return what is seen of a host that was never started."""
    return Observation(host, HostStatus.ABSENT)


def running(*phases: str, host: str = "algo-1", at: float = START.timestamp()) -> Observation:
    """Return what is seen of a host that has reached some phases, a second apart."""
    history: tuple[PhaseRecord, ...] = tuple(
        {"phase": phase, "at": at + index} for index, phase in enumerate(phases)
    )
    return Observation(host, HostStatus.RUNNING, history)


def lease(number: int, kind: str, amount: float, unit: int = 0, *, shared: bool = False) -> Any:
    """Return a lease of rank 0."""
    return ResourceLease(number, 0, kind, unit, amount, shared)

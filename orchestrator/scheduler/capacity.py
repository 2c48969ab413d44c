"""Which queued jobs start now: a pure function of the queue, the machine and what is leased.

Jobs are taken in order (priority, then submission). A job that does not fit blocks only the
kinds of resource it lacks, so that a later job that needs none of them may pass, and a large job
is never starved by small ones of its own kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.store.base import ResourceLease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.spec.job import Resources

EPSILON = 1e-9


@dataclass(frozen=True)
class Machine:
    """What this machine offers to jobs.

    Attributes:
        gpus: Indices of its GPUs.
    """

    cpus: float
    memory_gib: float
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Demand:
    """What one queued job asks for.

    Attributes:
        gpus_per_host: Resolved number of GPUs (never None).
    """

    number: int
    name: str
    hosts: int
    resources: Resources
    gpus_per_host: int = 0


@dataclass(frozen=True)
class Placement:
    """A job that starts now, with what it takes.

    Attributes:
        gpus: GPU indices per rank.
    """

    number: int
    leases: tuple[ResourceLease, ...]
    gpus: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Round:
    """Outcome of one placing round.

    Attributes:
        placements: Jobs that start.
        waiting: For each other job, what it waits for.
    """

    placements: tuple[Placement, ...]
    waiting: dict[int, str]


@dataclass
class _Free:
    """What is left of the machine during one round."""

    cpus: float
    memory_gib: float
    gpus: set[int]
    shared_gpus: set[int]
    blocked: dict[str, str] = field(default_factory=dict)  # kind -> name of the job that waits


def impossible(demand: Demand, machine: Machine) -> str | None:
    """Return why a job can never run on this machine, or None when it can."""
    wanted = demand.resources
    if demand.hosts * wanted.cpus > machine.cpus + EPSILON:
        return (
            f"{demand.hosts} host(s) x resources.cpus={wanted.cpus:g} must be at most the "
            f"{machine.cpus:g} CPU slots of this machine; ask for fewer, or raise "
            "ORCHESTRATOR_CPU_SLOTS before its driver starts (`orchestrator env` says which of this "
            "shell's settings a running one does not follow, and how to end it)"
        )
    if demand.hosts * (wanted.memory_gib or 0) > machine.memory_gib + EPSILON:
        return (
            f"{demand.hosts} host(s) x resources.memory_gib={wanted.memory_gib:g} must be at most "
            f"the {machine.memory_gib:.1f} GiB of this machine; ask for less"
        )
    if not wanted.share_gpus and demand.hosts * demand.gpus_per_host > len(machine.gpus):
        return (
            f"{demand.hosts} host(s) x {demand.gpus_per_host} GPU(s) must be at most the "
            f"{len(machine.gpus)} GPUs of this machine; ask for fewer or set share_gpus"
        )
    if demand.gpus_per_host > len(machine.gpus):
        return (
            f"resources.gpus must be at most the {len(machine.gpus)} GPUs of this machine, "
            f"got {demand.gpus_per_host}; ask for fewer"
        )
    return None


def place(queue: Sequence[Demand], machine: Machine, leases: Sequence[ResourceLease]) -> Round:
    """Decide which jobs of the queue start now.

    Args:
        queue: Waiting jobs in their order.
        machine: What there is.
        leases: What is taken.
    """
    free = _free(machine, leases)
    placements: list[Placement] = []
    waiting: dict[int, str] = {}
    for demand in queue:
        lacking = _lacking(demand, free)
        ahead = _blocked_by(demand, free)
        if not lacking and ahead is None:
            placements.append(_take(demand, free))
            continue
        waiting[demand.number] = _waits_for(lacking, ahead)
        for kind in lacking:
            free.blocked.setdefault(kind, demand.name)
    return Round(tuple(placements), waiting)


def _free(machine: Machine, leases: Sequence[ResourceLease]) -> _Free:
    taken = [lease for lease in leases if lease.kind == "gpu"]
    exclusive = {lease.unit for lease in taken if not lease.shared}
    shared = {lease.unit for lease in taken if lease.shared}
    present = set(machine.gpus)
    return _Free(
        cpus=machine.cpus - sum(x.amount for x in leases if x.kind == "cpu"),
        memory_gib=machine.memory_gib - sum(x.amount for x in leases if x.kind == "memory"),
        gpus=present - exclusive - shared,
        shared_gpus=(shared - exclusive) & present,
    )


def _needs(demand: Demand) -> dict[str, float]:
    return {
        "cpu": demand.hosts * demand.resources.cpus,
        "memory": demand.hosts * (demand.resources.memory_gib or 0),
        "gpu": demand.hosts * demand.gpus_per_host,
    }


def _lacking(demand: Demand, free: _Free) -> dict[str, str]:
    needs = _needs(demand)
    lacking = {}
    if needs["cpu"] > free.cpus + EPSILON:
        lacking["cpu"] = f"{needs['cpu']:g} CPU slot(s), {max(free.cpus, 0):g} free"
    if needs["memory"] > free.memory_gib + EPSILON:
        lacking["memory"] = (
            f"{needs['memory']:g} GiB of memory, {max(free.memory_gib, 0):.1f} free"
        )
    usable = len(free.gpus)
    wanted = needs["gpu"]
    if demand.resources.share_gpus:
        usable, wanted = usable + len(free.shared_gpus), demand.gpus_per_host
    if wanted > usable:
        lacking["gpu"] = f"{wanted:g} GPU(s), {usable} free"
    return lacking


def _blocked_by(demand: Demand, free: _Free) -> str | None:
    for kind, needed in _needs(demand).items():
        if needed > 0 and kind in free.blocked:
            return free.blocked[kind]
    return None


def _waits_for(lacking: dict[str, str], ahead: str | None) -> str:
    if lacking:
        return "waits for " + " and ".join(lacking.values())
    return f"waits behind {ahead}"


def _take(demand: Demand, free: _Free) -> Placement:
    leases: list[ResourceLease] = []
    gpus: list[tuple[int, ...]] = []
    wanted = demand.resources
    for rank in range(demand.hosts):
        leases.append(ResourceLease(demand.number, rank, "cpu", 0, wanted.cpus))
        if wanted.memory_gib:
            leases.append(ResourceLease(demand.number, rank, "memory", 0, wanted.memory_gib))
        units = _take_gpus(demand, free)
        leases.extend(
            ResourceLease(demand.number, rank, "gpu", unit, 1, shared=wanted.share_gpus)
            for unit in units
        )
        gpus.append(units)
    free.cpus -= demand.hosts * wanted.cpus
    free.memory_gib -= demand.hosts * (wanted.memory_gib or 0)
    return Placement(demand.number, tuple(leases), tuple(gpus))


def _take_gpus(demand: Demand, free: _Free) -> tuple[int, ...]:
    if demand.resources.share_gpus:
        pool = sorted(free.shared_gpus) + sorted(free.gpus)
        units = tuple(pool[: demand.gpus_per_host])
        free.gpus.difference_update(units)
        free.shared_gpus.update(units)
        return units
    units = tuple(sorted(free.gpus)[: demand.gpus_per_host])
    free.gpus.difference_update(units)
    return units

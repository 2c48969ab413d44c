"""What a driver remembers of attempts from one round to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.scheduler.reconcile import ActionKind, Collected, StartFault
    from orchestrator.spec.record import HostRecord, TrainingJobRecord


@dataclass
class Attempt:
    """What this driver remembers of one attempt; all of it can be found again."""

    running: set[ActionKind] = field(default_factory=set)
    stops_sent: set[str] = field(default_factory=set)
    start_fault: StartFault | None = None
    collected: Collected | None = None
    handles: tuple[HostRecord, ...] | None = None
    tries: int = 0
    not_before: float = 0.0
    measured_at: float = float("-inf")
    measuring: bool = False
    why_end: str | None = None
    kept_at: float = float("-inf")


@dataclass(frozen=True)
class Release:
    """An ended attempt that must be cleaned up after."""

    job: TrainingJobRecord
    ended: bool
    tries: int = 0
    not_before: float = 0.0

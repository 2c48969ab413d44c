"""Who says in tests whether runs get better."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from orchestrator.spec.early import BestCheckpoint
from orchestrator.spec.record import TrainingJobRecord


class NoJudge:
    """No run is ended early."""

    def ends(self, job: TrainingJobRecord) -> str | None:
        return None

    def best(
        self, job: TrainingJobRecord, checkpoints: Path, *, ended_early: bool
    ) -> BestCheckpoint | None:
        return None


class HarshJudge(NoJudge):
    """Ends some runs when it has looked at them a few times.

    Args:
        seed: Decides which.
        spares: The names of jobs that go on whatever they do.
    """

    WHY = "it gets no better (simulated)"

    def __init__(self, seed: int, spares: Callable[[str], bool]) -> None:
        self._chance = random.Random(seed)
        self._spares = spares
        self.ended: set[str] = set()

    def ends(self, job: TrainingJobRecord) -> str | None:
        if self._chance.random() < 0.1 and not self._spares(job.name):
            self.ended.add(job.name)
        return self.WHY if job.name in self.ended else None

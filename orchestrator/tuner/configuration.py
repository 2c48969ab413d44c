"""Training jobs of the same values: one that began with them, its retries and its promotions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.spec.tuned import TunedJob


@dataclass(frozen=True)
class Configuration:
    """Values that were chosen once, and the training jobs that had them, one after the other.

    Attributes:
        jobs: In order of choice, at least one. Each goes on with the checkpoints of the one before.
    """

    jobs: tuple[TunedJob, ...]

    @property
    def first(self) -> TunedJob:
        """The training job that began with these values; it gives the checkpoints their place."""
        return self.jobs[0]

    @property
    def last(self) -> TunedJob:
        """The training job in whose hands these values are now; only this one may be running."""
        return self.jobs[-1]

    @property
    def teaches(self) -> TunedJob:
        """The training job of which the search learns: the last one that has something to tell."""
        return next((job for job in reversed(self.jobs) if job.told), self.last)

    @property
    def result(self) -> TunedJob | None:
        """The training job with the result of the longest training; None while none has one."""
        return next((job for job in reversed(self.jobs) if job.objectives), None)


def configurations(jobs: Sequence[TunedJob]) -> list[Configuration]:
    """Return all configurations of a tuning job, in the order in which their values were chosen.

    Args:
        jobs: All of its training jobs, in order of choice.
    """
    first: dict[int, int] = {}  # by index, the index of the one that began with these values
    found: dict[int, list[TunedJob]] = {}
    for job in jobs:
        first[job.index] = job.index if job.continues is None else first[job.continues]
        found.setdefault(first[job.index], []).append(job)
    return [Configuration(tuple(each)) for each in found.values()]

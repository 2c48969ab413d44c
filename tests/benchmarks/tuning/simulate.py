"""Training jobs that take no time: a search, and some slots that are never idle."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.tuner.points import Point
from tests.benchmarks.tuning.problems import Problem

Searcher = Callable[[Problem, int], "Search"]
"""Starts a search of a problem, with a seed."""
Search = Callable[[tuple[Point, ...]], dict[str, str]]
"""(all points that were chosen, those that run without losses) -> the next one."""


@dataclass
class _Slots:
    """Which training jobs run, and when they end."""

    durations: random.Random
    now: float = 0.0
    ends: list[tuple[float, int]] = field(default_factory=list)

    def start(self, index: int) -> None:
        heapq.heappush(self.ends, (self.now + self.durations.uniform(0.5, 1.5), index))

    def next_end(self) -> int:
        self.now, index = heapq.heappop(self.ends)
        return index


def losses_of(
    problem: Problem, searcher: Searcher, *, seed: int, jobs: int, parallel: int
) -> list[float]:
    """Search once.

    Returns:
        The losses, in the order in which the training jobs end. A job takes 0.5 to 1.5 units of
        time; the same seed gives the same times to all searchers.
    """
    search = searcher(problem, seed)
    slots = _Slots(random.Random(seed))
    points: list[Point] = []
    losses: list[float] = []
    while len(losses) < jobs:
        while len(slots.ends) < parallel and len(points) < jobs:
            points.append(Point(search(tuple(points))))
            slots.start(len(points) - 1)
        ended = slots.next_end()
        loss = problem.loss(points[ended].values)
        points[ended] = Point(points[ended].values, (loss,))
        losses.append(loss)
    return losses

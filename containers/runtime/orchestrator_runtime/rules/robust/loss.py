"""What the loss has done so far, whatever its sign and scale."""

from __future__ import annotations

import math
from collections import deque

START = 3
"""Losses whose median is the start."""
FAST, SLOW = 0.3, 0.1
"""Weights of the newest loss in the two averages: about 3 and 10 steps."""
LUCK = 2.0
"""Noise by which a start may be too high by chance, and a best too low."""
CONVERGED = 0.9
"""Share of the loss whose gain means that it has converged."""
BACK = 20
"""Steps over which recent progress is measured."""
ALIKE = 0.3
"""Share of themselves by which losses that have come to rest differ."""


class LossTrack:
    """Averages of the loss, and how far it has come.

    Attributes:
        steps: Finite losses so far.
        first: The first loss.
        start: Median of the first three; nan before the first.
        fast: Average over about 3 steps.
        slow: Average over about 10 steps.
        best: The lowest slow average.
        rise: How many times the start the newest loss is; 1 = no more than that.
        noise: Average distance of a loss from the slow average.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.start = math.nan
        self.fast = math.nan
        self.slow = math.nan
        self.best = math.inf
        self.noise = 0.0
        self.rise = 1.0
        self.first = math.nan
        self._first: list[float] = []
        self._past: deque[float] = deque(maxlen=BACK)
        self._newest: deque[float] = deque(maxlen=BACK)

    def take(self, loss: float) -> None:
        """Take one loss; those that are not finite are left out."""
        if not math.isfinite(loss):
            return
        self.rise = self._rise(loss)
        self.steps += 1
        self._newest.append(loss)
        if len(self._first) < START:
            self._first.append(loss)
            self.start = sorted(self._first)[(len(self._first) - 1) // 2]
        if self.steps == 1:
            self.fast = self.slow = self.best = self.first = loss
            return
        self._past.append(self.slow)
        weight = max(SLOW, 1.0 / self.steps)  # at first the plain mean
        # A loss that explodes must not pass for a noisy one.
        away = min(abs(loss - self.slow), 3.0 * self.scale)
        self.noise += weight * (away - self.noise)
        self.fast += max(FAST, 1.0 / self.steps) * (loss - self.fast)
        self.slow += weight * (loss - self.slow)
        self.best = min(self.best, self.slow)

    @property
    def scale(self) -> float:
        """What a change of the loss is measured against: its start, or its noise around zero."""
        return max(abs(self.start), self.noise, 1e-30)

    @property
    def gain(self) -> float:
        """Return which share of the start has been gained: 0.3 when 1.0 became 0.7."""
        return (self.start - self.slow) / self.scale

    @property
    def best_gain(self) -> float:
        """The most that has been gained so far, beyond what noise may pretend."""
        return (self.start - self.best - LUCK * self.noise) / self.scale

    @property
    def recent_gain(self) -> float:
        """Return which share of the start was gained in the last BACK steps."""
        return (self._past[0] - self.slow) / self.scale if self._past else 0.0

    @property
    def is_moving(self) -> bool:
        """Whether the last BACK steps gained more than noise explains."""
        if not self._past:
            return False
        gained = self._past[0] - self.slow
        return gained > max(0.01 * self.scale, 0.8 * self.noise)

    @property
    def lost(self) -> float:
        """Return which share of what was gained at best is lost again; nan before any gain."""
        gained = self.start - self.best
        return (self.fast - self.best) / gained if gained > 0 else math.nan

    @property
    def kept_gain(self) -> float:
        """Return what is left of the best gain: a run that fell back has not learnt."""
        return min(self.gain, self.best_gain)

    @property
    def is_still(self) -> bool:
        """Whether the last BACK steps changed the loss by no more than noise, up or down.

        A program that shows no loss shows nothing against it.
        """
        if not self._past:
            return not self.steps
        return abs(self._past[0] - self.slow) <= max(0.01 * self.scale, 0.8 * self.noise)

    @property
    def is_settled(self) -> bool:
        """Whether the last BACK losses are alike, by their own size: no way to zero looks like that."""
        lowest, highest = min(self._newest, default=0.0), max(self._newest, default=0.0)
        size = min(abs(lowest), abs(highest))
        return len(self._newest) == BACK and highest - lowest < ALIKE * size

    def _rise(self, loss: float) -> float:
        if not self.steps:
            return 1.0
        start = min(self.first, self.start)
        scale = max(abs(start), self.noise, 1e-30)
        return 1.0 + max(loss - start, 0.0) / scale

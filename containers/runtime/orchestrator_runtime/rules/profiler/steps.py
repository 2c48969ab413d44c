"""Rules over the time that steps, and the way to the first of them, take."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.base import DocumentedRule
from orchestrator_runtime.rules.documented.tensors import OWN_SCALARS
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.profiler.base import COMMON

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import StepRecord

EXACT_SECONDS = 1e-6
"""To which times of steps are known: seconds since 1970 in double precision."""


class Durations:
    """Durations of steps; a step at which metrics are reported is none: it holds an evaluation.

    Attributes:
        count: How many there are.
        mean: Seconds.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0
        self._last: float | None = None

    def take(self, record: StepRecord) -> float | None:
        """Take a step, and return its duration if it has one."""
        last, self._last = self._last, record.time
        if last is None or record.scalars.keys() - OWN_SCALARS - {"loss"}:
            return None
        duration = record.time - last
        self.count += 1
        away = duration - self.mean
        self.mean += away / self.count
        self._squares += away * (duration - self.mean)
        return duration

    @property
    def deviation(self) -> float:
        """The standard deviation (of the population), in seconds."""
        return math.sqrt(self._squares / self.count) if self.count else 0.0


class StepOutlier(DocumentedRule):
    """Fires after more than ``n_outliers`` steps further than ``stddev`` deviations from the mean.

    Mean and deviation are those of all steps up to the one that is looked at.
    """

    name = "StepOutlier"
    saves = False
    parameters = (
        *COMMON,
        Parameter("stddev", 5.0, low=0.0),
        Parameter("mode", None, "choice", choices=("TRAIN", "EVAL", "GLOBAL")),
        Parameter("n_outliers", 10, "int", 0),
    )
    cause = "Some steps take much longer than the others: the GPUs wait meanwhile."
    remedies = (
        "Look for what happens now and then: saving, logging, garbage collection, slow files.",
        "Prefetch data, and save checkpoints in another thread.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._durations = Durations()
        self._outliers = 0

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing can be found."""
        if self.values["mode"] == "EVAL":
            return "StepOutlier: steps of mode EVAL are not recorded; leave mode out"
        return None

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at the time since the step before."""
        if self.values["mode"] == "EVAL":
            return None
        duration = self._durations.take(record)
        if duration is None:
            return None
        mean, limit = self._durations.mean, self.number("stddev") * self._durations.deviation
        if abs(duration - mean) <= limit + EXACT_SECONDS:
            return None
        self._outliers += 1
        if self._outliers <= self.whole("n_outliers"):
            return None
        return self.found(
            record.step,
            f"{self._outliers} steps were more than {self.number('stddev'):g} standard deviations "
            f"from the mean of {mean:.4g} s; this one took {duration:.4g} s",
            values={"outliers": self._outliers, "mean_seconds": mean, "seconds": duration},
        )


class MaxInitializationTime(DocumentedRule):
    """Fires when the first step took more than ``threshold`` minutes to come.

    They count from when the rule is made, which is when the framework is imported.
    """

    name = "MaxInitializationTime"
    saves = False
    parameters = (*COMMON, Parameter("threshold", 20.0, low=0.0, help="minutes"))
    cause = "The time before the first step is paid for, and trains nothing."
    remedies = (
        "Prepare and download data once, before the job; read it as a stream.",
        "Load only what the first steps need; compile and cache models beforehand.",
    )

    def __init__(self, *, started: float | None = None, **given: Any) -> None:
        """Take the epoch seconds of the start, now by default."""
        super().__init__(**given)
        self._started = time.time() if started is None else started
        self._over = False

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at when the first step came."""
        over, self._over = self._over, True
        return None if over else self._compare(record.time)

    def waited(self, last: StepRecord | None, now: float) -> Finding | None:
        """Look at the time before the first step."""
        if self._over or last is not None:
            return None
        return self._compare(now)

    def _compare(self, now: float) -> Finding | None:
        minutes = (now - self._started) / 60
        if minutes <= self.number("threshold"):
            return None
        self._over = True
        return self.found(
            0,
            f"{minutes:.1f} minutes went by before the first step; limit "
            f"{self.number('threshold'):g}",
            values={"minutes": minutes},
        )

"""What all rules over the host share: samples, patience, and scans."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.base import BASE_TRIAL, DocumentedRule
from orchestrator_runtime.rules.parameters import Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import StepRecord, SystemSample

SCAN = Parameter("scan_interval_us", 60_000_000, "int", 1, help="microseconds between two looks")
COMMON = (BASE_TRIAL, SCAN)


def percent(name: str, default: float) -> Parameter:
    """Return a parameter that is a percentage."""
    return Parameter(name, default, low=0.0, high=100.0)


def count(name: str, default: int) -> Parameter:
    """Return a parameter that is a number of things."""
    return Parameter(name, default, "int", 1)


class SystemRule(DocumentedRule):
    """Takes samples of the host and judges them once per scan interval, by the samples' clock.

    Where it has a ``patience``, not before so many samples.
    """

    saves = False
    watches_system = True

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.samples = 0
        self.step = 0
        self._scanned: float | None = None

    def observe(self, record: StepRecord) -> Finding | None:
        """Remember the step, which a finding names."""
        self.step = record.step
        return None

    def observe_system(self, sample: SystemSample) -> Finding | None:
        """Take a sample, and judge if it is time to."""
        if self.take(sample):
            self.samples += 1
        if self._scanned is None:
            self._scanned = sample.time
        if sample.time - self._scanned < self.whole("scan_interval_us") / 1e6:
            return None
        self._scanned = sample.time
        if self.samples < self.patience:
            return None
        return self.scan()

    @property
    def patience(self) -> int:
        """The number of samples that are needed before anything is judged."""
        return self.whole("patience") if "patience" in self.values else 1

    @abstractmethod
    def take(self, sample: SystemSample) -> bool:
        """Take a sample; return whether it has what this rule needs."""

    @abstractmethod
    def scan(self) -> Finding | None:
        """Judge what was taken."""


class GpuRule(SystemRule):
    """A rule that needs samples with GPUs; such without are left out."""

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was judged."""
        if self.samples:
            return None
        if self._scanned is None:
            return f"{self.name}: the run ended before the host was sampled"
        return f"{self.name}: no GPU was seen (NVML, libnvidia-ml.so.1, told of none)"


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile, between two values in proportion as ``numpy.quantile`` does."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def mean(values: Sequence[float]) -> float:
    """Return the mean of some values."""
    return math.fsum(values) / len(values)

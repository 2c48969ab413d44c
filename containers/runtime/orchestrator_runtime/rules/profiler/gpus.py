"""Rules over the GPUs' memory, and over how work is spread on them."""

from __future__ import annotations

from collections import deque
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.profiler.base import COMMON, GpuRule, count, mean, percent

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import SystemSample

BINS = 10


class GPUMemoryIncrease(GpuRule):
    """Fires when a GPU's memory rises by more than ``increase`` percent of all that it has.

    The mean of the last ``window`` samples is compared with that of as many before them.
    """

    name = "GPUMemoryIncrease"
    parameters = (
        *COMMON,
        percent("increase", 10),
        count("patience", 100),
        count("window", 500),
    )
    cause = "Memory that is taken and not given back ends in an out-of-memory error."
    remedies = (
        "Look for losses or outputs that are kept with their graphs: use loss.item().",
        "Sequences of growing length also do this: bound them.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._windows: dict[int, deque[float]] = {}

    def take(self, sample: SystemSample) -> bool:
        """Keep the last samples of each GPU."""
        for index, gpu in enumerate(sample.gpus):
            window = self._windows.setdefault(index, deque(maxlen=2 * self.whole("window")))
            window.append(gpu.memory)
        return bool(sample.gpus)

    def scan(self) -> Finding | None:
        """Compare the two halves of what is kept, if it is all there."""
        size = self.whole("window")
        for index, window in sorted(self._windows.items()):
            if len(window) < 2 * size:
                continue
            before = mean(list(islice(window, size)))
            now = mean(list(islice(window, size, None)))
            if now - before > self.number("increase"):
                return self.found(
                    self.step,
                    f"memory of GPU {index} went from {before:.4g} % to {now:.4g} %, in the mean "
                    f"of {size} samples",
                    values={"gpu": index, "before": before, "now": now},
                )
        return None


class LoadBalancing(GpuRule):
    """Fires when two GPUs' histograms of utilisation differ by more than ``threshold``.

    A histogram has ten bins of ten percent; two differ by the share of samples that would have
    to be in other bins: 0 for the same, 1 for nothing in common.
    """

    name = "LoadBalancing"
    parameters = (
        *COMMON,
        Parameter("threshold", 0.5, low=0.0, high=1.0),
        count("patience", 10),
    )
    cause = "Some GPUs do the work while others wait for them."
    remedies = (
        "Use DistributedDataParallel rather than DataParallel, with equal shards.",
        "Move what the first GPU does alone (loss, gathering, logging) away from it.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._histograms: dict[int, list[int]] = {}

    def take(self, sample: SystemSample) -> bool:
        """Count each GPU's utilisation."""
        for index, gpu in enumerate(sample.gpus):
            histogram = self._histograms.setdefault(index, [0] * BINS)
            histogram[min(int(gpu.utilization / (100 / BINS)), BINS - 1)] += 1
        return bool(sample.gpus)

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was judged."""
        if len(self._histograms) == 1:
            return f"{self.name}: there is only one GPU"
        return super().not_evaluated

    def scan(self) -> Finding | None:
        """Compare all pairs."""
        for one, other in combinations(sorted(self._histograms), 2):
            distance = _distance(self._histograms[one], self._histograms[other])
            if distance > self.number("threshold"):
                return self.found(
                    self.step,
                    f"GPUs {one} and {other} are used differently: {distance:.3g} of their "
                    f"samples; limit {self.number('threshold'):g}",
                    values={"gpu": one, "other_gpu": other, "distance": distance},
                )
        return None


def _distance(one: list[int], other: list[int]) -> float:
    a, b = sum(one), sum(other)
    return sum(abs(x / a - y / b) for x, y in zip(one, other)) / 2

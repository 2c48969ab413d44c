"""Rules over GPUs that wait: for the CPU, for disks, or because there is too little to do."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator_runtime.rules.profiler.base import (
    COMMON,
    GpuRule,
    count,
    mean,
    percent,
    quantile,
)

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import SystemSample


class BottleneckRule(GpuRule):
    """Counts samples in which the GPUs idle, in the mean, while something else is busy."""

    limit: ClassVar[str]
    what: ClassVar[str]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._bottlenecks = 0

    @abstractmethod
    def busy(self, sample: SystemSample) -> float | None:
        """Return the percentage of what may hold up the GPUs."""

    def take(self, sample: SystemSample) -> bool:
        """Count a sample."""
        busy = self.busy(sample)
        if not sample.gpus or busy is None:
            return False
        idle = mean([gpu.utilization for gpu in sample.gpus]) < self.number("gpu_threshold")
        self._bottlenecks += idle and busy > self.number(self.limit)
        return True

    def scan(self) -> Finding | None:
        """Compare the share of such samples with the threshold."""
        share = 100 * self._bottlenecks / self.samples
        if share <= self.number("threshold"):
            return None
        return self.found(
            self.step,
            f"in {share:.4g} % of {self.samples} samples the GPUs were below "
            f"{self.number('gpu_threshold'):g} % while {self.what} was above "
            f"{self.number(self.limit):g} %",
            values={"bottleneck_percent": share, "samples": self.samples},
        )


class CPUBottleneck(BottleneckRule):
    """Fires when the GPUs wait for the CPU for more than ``threshold`` percent of the time."""

    name = "CPUBottleneck"
    parameters = (
        *COMMON,
        percent("threshold", 50),
        percent("gpu_threshold", 10),
        percent("cpu_threshold", 90),
        count("patience", 100),
    )
    limit, what = "cpu_threshold", "the CPU"
    cause = "The data's preparation keeps all cores busy, and the GPUs wait for it."
    remedies = (
        "Prepare the data once before the training, or on the GPU; use a machine with more cores.",
        "Look for work in the training loop that belongs into data loader workers.",
    )

    def busy(self, sample: SystemSample) -> float | None:
        """Return how busy the cores are."""
        return sample.cpu


class IOBottleneck(BottleneckRule):
    """Fires when the GPUs wait for disks for more than ``threshold`` percent of the time."""

    name = "IOBottleneck"
    parameters = (
        *COMMON,
        percent("threshold", 50),
        percent("gpu_threshold", 70),
        percent("io_threshold", 50),
        count("patience", 1000),
    )
    limit, what = "io_threshold", "waiting for disks"
    cause = "The data comes from disk more slowly than the GPUs use it."
    remedies = (
        "Read ahead in more workers, from fewer and larger files.",
        "Put the data on a faster disk or into memory.",
    )

    def busy(self, sample: SystemSample) -> float | None:
        """Return how much the cores wait for disks."""
        return sample.io_wait


class LowGPUUtilization(GpuRule):
    """Fires when a GPU is busy too rarely (95th percentile), or too unsteadily (5th)."""

    name = "LowGPUUtilization"
    parameters = (
        *COMMON,
        percent("threshold_p95", 70),
        percent("threshold_p5", 10),
        count("patience", 1000),
        count("window", 500),
    )
    cause = (
        "The GPU is paid for but not used: the model or the batches are small, or data is late."
    )
    remedies = (
        "Use larger batches, or a smaller machine.",
        "Unsteady: load data in more workers, and move checks and prints out of the loop.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._windows: dict[int, deque[float]] = {}

    def take(self, sample: SystemSample) -> bool:
        """Keep the last samples of each GPU."""
        for index, gpu in enumerate(sample.gpus):
            window = self._windows.setdefault(index, deque(maxlen=self.whole("window")))
            window.append(gpu.utilization)
        return bool(sample.gpus)

    def scan(self) -> Finding | None:
        """Look at each GPU."""
        for index, window in sorted(self._windows.items()):
            high, low = quantile(window, 0.95), quantile(window, 0.05)
            limit, floor = self.number("threshold_p95"), self.number("threshold_p5")
            if high < limit:
                text = f"95 % of GPU {index}'s samples are below {high:.4g} %; limit {limit:g} %"
            elif high > limit and low < floor:
                text = f"GPU {index} goes up and down between {low:.4g} % and {high:.4g} %"
            else:
                continue
            return self.found(self.step, text, values={"gpu": index, "p95": high, "p5": low})
        return None


class BatchSize(GpuRule):
    """Fires when CPU, GPUs and their memory all have room: 95th percentiles below thresholds."""

    name = "BatchSize"
    parameters = (
        *COMMON,
        percent("cpu_threshold_p95", 70),
        percent("gpu_threshold_p95", 70),
        percent("gpu_memory_threshold_p95", 70),
        count("patience", 100),
        count("window", 500),
    )
    cause = "The machine is larger than what the batches make use of."
    remedies = (
        "Use larger batches, with a learning rate to match.",
        "Use a smaller machine.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        window = self.whole("window")
        self._windows: dict[str, deque[float]] = {
            kind: deque(maxlen=window) for kind in ("cpu", "gpu", "gpu_memory")
        }

    def take(self, sample: SystemSample) -> bool:
        """Keep the last samples, of GPUs their mean."""
        if not sample.gpus or sample.cpu is None:
            return False
        self._windows["cpu"].append(sample.cpu)
        self._windows["gpu"].append(mean([gpu.utilization for gpu in sample.gpus]))
        self._windows["gpu_memory"].append(mean([gpu.memory for gpu in sample.gpus]))
        return True

    def scan(self) -> Finding | None:
        """Look at all three."""
        high = {kind: quantile(window, 0.95) for kind, window in self._windows.items()}
        if any(value >= self.number(f"{kind}_threshold_p95") for kind, value in high.items()):
            return None
        text = ", ".join(f"{kind} {value:.4g} %" for kind, value in high.items())
        return self.found(self.step, f"95th percentiles are low: {text}", values=high)

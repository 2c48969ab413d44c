"""A rule over data loader processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.profiler.base import COMMON, SystemRule, mean

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import SystemSample


class Dataloader(SystemRule):
    """Fires when data loaders use too few or too many cores, in the mean of one scan interval.

    All child processes of the training process are taken for data loaders.
    """

    name = "Dataloader"
    parameters = (
        *COMMON,
        Parameter("min_threshold", 70.0, low=0.0),
        Parameter("max_threshold", 200.0, low=0.0),
    )
    cause = "Too few workers leave cores idle and the training waiting; too many get in each other's way."
    remedies = (
        "Set num_workers to about the number of cores.",
        "Share the cores between the processes of a distributed run.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._shares: list[float] = []

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was judged."""
        if self.samples:
            return None
        return (
            "Dataloader: nothing is known of child processes (CONFIG_PROC_CHILDREN of the kernel)"
        )

    def take(self, sample: SystemSample) -> bool:
        """Keep processes per core, in percent."""
        if sample.children is None or not sample.cores:
            return False
        self._shares.append(100 * sample.children / sample.cores)
        return True

    def scan(self) -> Finding | None:
        """Look at the mean since the last scan."""
        if not self._shares:
            return None
        share = mean(self._shares)
        self._shares.clear()
        low, high = self.number("min_threshold"), self.number("max_threshold")
        if low <= share <= high:
            return None
        return self.found(
            self.step,
            f"data loader processes are {share:.4g} % of the cores; {low:g} to {high:g} % is good",
            values={"percent": share},
        )

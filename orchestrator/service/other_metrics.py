"""Metrics of other namespaces than jobs', kept beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.metrics.points import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.metrics.points import GivenValue
    from orchestrator.metrics.store import MetricStore

OTHERS = "cloudwatch:"
"""Beginning of the runs that are other namespaces; no job has such a name."""
KEPT_SECONDS = 455 * 86400.0
"""Values are kept so long, as CloudWatch keeps them: fifteen months."""


class OtherMetrics:
    """Values that anybody puts, by namespace.

    Args:
        points: Where they are kept.
    """

    def __init__(self, points: MetricStore) -> None:
        self._points = points

    @staticmethod
    def run(namespace: str) -> str:
        """Return the run under which a namespace is kept."""
        return OTHERS + namespace

    def put(self, namespace: str, values: Sequence[GivenValue]) -> None:
        """Keep some values."""
        self._points.put([Batch(self.run(namespace), 0, values)])

    def count_before(self, time_us: int) -> dict[str, int]:
        """Return how many values of each namespace are older than a time in microseconds."""
        found = self._points.count_before(OTHERS, time_us)
        return {run.removeprefix(OTHERS): count for run, count in found.items()}

    def remove_before(self, time_us: int) -> None:
        """Remove the values that are older than a time, and metrics that have none any more."""
        self._points.remove_before(OTHERS, time_us)

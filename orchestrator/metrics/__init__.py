"""Numbers that jobs report: kept exactly once, answered as curves and last values.

``collector`` reads them from the files of a host, ``extract`` tries definitions out, ``export`` and
``plot`` show them; these are imported by who needs them.
"""

from orchestrator.metrics.points import Cursor, Curve, MetricPoint, Source
from orchestrator.metrics.store import MetricStore

__all__ = ["Cursor", "Curve", "MetricPoint", "MetricStore", "Source"]

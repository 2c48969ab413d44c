"""What runs beside the user's program, and the one call that programs make: ``report_metric``.

Standard library only, Python 3.9 or newer. See ../README.md for files, states and decisions.
"""

from __future__ import annotations

TYPE_CHECKING = False  # avoids importing typing at run time; type checkers treat it as True
if TYPE_CHECKING:
    from orchestrator_runtime.records import report_metric as report_metric

__all__ = ["report_metric"]


def __getattr__(name: str) -> object:
    """Load ``report_metric`` when it is first used: the supervisor never needs it."""
    if name == "report_metric":
        from orchestrator_runtime.records import report_metric  # noqa: PLC0415 -- lazy

        return report_metric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

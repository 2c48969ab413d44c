"""The debugger inside a program; `watch` and its companions for those who call it themselves.

Every Python process of a watched job loads this package: it imports nothing until it is asked to.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orchestrator_runtime.hook.api import (
        TrainingStopped,
        Watching,
        save_scalar,
        save_tensor,
        watch,
    )
    from orchestrator_runtime.rules.finding import Finding

__all__ = ["Finding", "TrainingStopped", "Watching", "save_scalar", "save_tensor", "watch"]


def __getattr__(name: str) -> "Any":
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator_runtime.hook import api  # noqa: PLC0415

    value = globals()[name] = getattr(api, name)
    return value

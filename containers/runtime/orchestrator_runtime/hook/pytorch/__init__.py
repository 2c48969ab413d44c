"""The debugger's PyTorch half: what optimizers, losses, clipping and scalers do, seen from aside."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.adapter import Adapter

OLDEST = "2.1"


def install(monitor: Monitor, only: Iterable[Any] | None = None) -> Adapter | None:
    """Watch all optimizers of this process, or some; None, with a remark, in an old PyTorch."""
    steps = sys.modules.get("torch.optim.optimizer")
    if not hasattr(steps, "register_optimizer_step_post_hook"):
        version = getattr(sys.modules.get("torch"), "__version__", "of unknown version")
        monitor.unmonitored(
            f"PyTorch {version} is too old to be watched; {OLDEST} or newer is needed"
        )
        return None
    # What follows names parts of PyTorch that an old one does not have.
    from orchestrator_runtime.hook.pytorch import adapter  # noqa: PLC0415

    return adapter.install(monitor, only)

"""The debugger's Keras half: what optimizers on TensorFlow do, recorded by operations of the graph."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator_runtime.hook.monitor import Monitor

__all__ = ["install"]

OLDEST = "3.4"


def install(monitor: Monitor, package: str) -> Any:
    """Watch the optimizers of ``keras`` or ``tf_keras``; None where that is not possible.

    With the PyTorch back end the optimizers' work is left to the PyTorch half.
    """
    module = sys.modules[package]
    version = str(getattr(module, "__version__", "?"))
    if package == "keras" and not version.startswith("2."):
        back_end = module.backend.backend()
        if back_end == "torch":
            return None
        if back_end != "tensorflow":
            monitor.unmonitored(
                f"Keras runs on the back end {back_end!r}, whose steps are functions without "
                "state that nothing can look into; set KERAS_BACKEND to tensorflow or torch"
            )
            return None
    return _install(monitor, package, version)


def _install(monitor: Monitor, package: str, version: str) -> Any:
    from orchestrator_runtime.hook.keras.adapter import Adapter  # noqa: PLC0415 -- TensorFlow
    from orchestrator_runtime.hook.keras.listeners import listen, places_of  # noqa: PLC0415
    from orchestrator_runtime.hook.keras.whole import COLLECTIONS, not_recorded  # noqa: PLC0415

    places = places_of(package)
    if places is None:
        monitor.unmonitored(
            f"{package} {version} is made otherwise than what can be watched; "
            f"Keras {OLDEST} or newer is needed"
        )
        return None
    left_out = not_recorded(monitor.schedule.groups)
    if left_out:
        monitor.note(
            f"not recorded of Keras programs are {', '.join(left_out)}: of whole tensors and "
            f"histograms there are {' and '.join(COLLECTIONS)}"
        )
    adapter = Adapter(monitor, f"{package} {version}")
    monitor.before_end(adapter.guard(adapter.end))
    if monitor.records:
        listen(adapter, places)
    return adapter

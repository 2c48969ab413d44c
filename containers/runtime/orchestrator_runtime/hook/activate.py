"""Starts the debugger in a program that knows nothing of it: when a framework has been imported.

Every Python process of a job loads this file, also those that never train: it imports nothing
that the interpreter has not loaded already.
"""

from __future__ import annotations

import os
import sys

from orchestrator_runtime import contract

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from orchestrator_runtime.hook.monitor import Monitor

FRAMEWORKS = ("torch", "keras", "tf_keras")
_started: dict[str, Any] = {}
_shared: dict[str, Any] = {}


def activate() -> None:
    """Wait for a framework; does nothing in a process that nobody asked to watch."""
    if os.environ.get(contract.DEBUG_VARIABLE) and not any(
        isinstance(finder, _Finder) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds no module by itself: it adds an act to the loaders of frameworks."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in FRAMEWORKS or fullname in _started:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    if spec.loader is not None:
                        spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                    return spec
        return None


class _Loader:
    """Another loader, and what comes after it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._inner.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        module.__loader__ = self._inner
        self._inner.exec_module(module)
        start(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def start(framework: str) -> None:
    """Put the debugger into a framework that is imported. Never raises."""
    if framework in _started:
        return
    _started[framework] = None
    try:
        _started[framework] = _install(framework)
    except Exception as error:  # noqa: BLE001
        _tell(f"it could not be started: {type(error).__name__}: {error}")


def adapter_of(framework: str) -> Any:
    """Return what watches a framework in this process by its environment; None if nothing does."""
    return _started.get(framework)


def _tell(reason: str) -> None:
    """Say that nothing is watched, and to whoever asked for it as well. Never raises."""
    _say(f"unmonitored: {reason}")
    try:
        from orchestrator_runtime import records  # noqa: PLC0415

        records.send_record({"kind": "debugger", "state": "unmonitored", "reason": reason[:1000]})
    except Exception as error:  # noqa: BLE001
        _say(f"that is known here only: {error}")


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"[orchestrator debugger] {text}\n")
    except (OSError, ValueError, AttributeError):  # there is none, or it is closed
        return


def _install(framework: str) -> Any:
    monitor = _monitor()
    if monitor is None:
        return None
    return install(framework, monitor)


def install(framework: str, monitor: Monitor) -> Any:
    """Put a monitor into a framework that is imported; return the adapter."""
    if framework == "torch":
        from orchestrator_runtime.hook import pytorch  # noqa: PLC0415 -- only where it is

        return pytorch.install(monitor)
    from orchestrator_runtime.hook import keras  # noqa: PLC0415 -- only where it is

    return keras.install(monitor, framework)


def _monitor() -> Any:
    """Return the one monitor of this process: a program may import two frameworks."""
    if "monitor" not in _shared:
        from orchestrator_runtime.hook.monitor import Monitor  # noqa: PLC0415
        from orchestrator_runtime.hook.plan import read_plan  # noqa: PLC0415

        plan = read_plan()
        _shared["monitor"] = None if plan is None else Monitor(plan)
    return _shared["monitor"]

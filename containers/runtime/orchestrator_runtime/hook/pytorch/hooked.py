"""Hooks on all modules for one step: between sampled steps no module has a hook."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.sample import Sample


class HookedModules(ABC):
    """A source that looks at forward passes, of those steps only whose values are wanted."""

    what = "activations"

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._handle: Any = None

    def arm(self, step: int) -> None:
        """Hook the modules if a step's values are wanted; those of step 0 are taken at step 1."""
        if not self.wanted(step) or self._handle is not None:
            return
        if compiles():
            self._monitor.note(f"{self.what} of compiled models are not measured")
            return
        self._handle = self.register()

    def take(self, sample: Sample) -> None:
        """Remove the hooks, and hand on what they saw."""
        if self._handle is not None:
            self._unhook()
            self.hand_on(sample)
            self.forget()

    def disarm(self) -> None:
        """Remove the hooks, and forget what they have seen."""
        self._unhook()
        self.forget()

    def close(self) -> None:
        """Remove the hooks."""
        self.disarm()

    def _unhook(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = None

    @abstractmethod
    def wanted(self, step: int) -> bool:
        """Return whether a step's values are wanted, and remember which."""

    @abstractmethod
    def register(self) -> Any:
        """Hook all modules; return what removes the hooks."""

    @abstractmethod
    def hand_on(self, sample: Sample) -> None:
        """Put what was seen into a sample."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of what was seen."""


def compiles() -> bool:
    """Return whether anything was compiled: hooks would make it be compiled again."""
    frames = getattr(sys.modules.get("torch._dynamo.convert_frame"), "FRAME_COUNTER", 0)
    return bool(frames)

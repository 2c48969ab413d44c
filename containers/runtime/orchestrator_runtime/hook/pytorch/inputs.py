"""What activation modules are given, at sampled steps only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from orchestrator_runtime.hook.pytorch.activations import Activations, forward_hook
from orchestrator_runtime.hook.pytorch.outputs import compiles, kind_of, trains

if TYPE_CHECKING:
    from orchestrator_runtime.hook.guard import Guard
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.arrays import Arrays
    from orchestrator_runtime.hook.pytorch.names import ModuleNames
    from orchestrator_runtime.hook.pytorch.sample import Sample

PREFIX = "inputs/"


class Inputs:
    """Hooks all modules before one step's forward pass: some change their input in place.

    Where an activation is a function, only its output is known.
    """

    def __init__(self, monitor: Monitor, arrays: Arrays, names: ModuleNames, guard: Guard) -> None:
        self._monitor = monitor
        self._handle: Any = None
        self._activations = Activations("inputs", monitor, arrays, names.of, {})
        self._hook = guard(forward_hook(self._activations, monitor.note, self._before_forward))

    def arm(self, step: int) -> None:
        """Hook the modules if a step's inputs are wanted; those of step 0 are taken at step 1."""
        if not self._activations.wanted(step) or self._handle is not None:
            return
        if compiles():
            self._monitor.note("activations of compiled models are not measured")
            return
        self._handle = nn.modules.module.register_module_forward_pre_hook(self._hook)

    def take(self, sample: Sample) -> None:
        """Remove the hooks, and hand on what they saw."""
        if self._handle is not None:
            self._unhook()
            self._activations.take(sample)

    def disarm(self) -> None:
        """Remove the hooks, and forget what they have seen."""
        self._unhook()
        self._activations.drop()

    def close(self) -> None:
        """Remove the hooks."""
        self.disarm()

    def _unhook(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = None

    def _before_forward(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        kind = kind_of(module)
        if kind is not None and given and trains(given[0]):
            self._activations.add(module, kind, given[0].detach())

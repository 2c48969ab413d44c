"""What activation modules are given, at sampled steps only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from orchestrator_runtime.hook.pytorch.activations import Activations, forward_hook
from orchestrator_runtime.hook.pytorch.hooked import HookedModules
from orchestrator_runtime.hook.pytorch.outputs import kind_of, trains

if TYPE_CHECKING:
    from orchestrator_runtime.hook.guard import Guard
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.arrays import Arrays
    from orchestrator_runtime.hook.pytorch.names import ModuleNames
    from orchestrator_runtime.hook.pytorch.sample import Sample

PREFIX = "inputs/"


class Inputs(HookedModules):
    """Hooks all modules before one step's forward pass: some change their input in place.

    Where an activation is a function, only its output is known.
    """

    def __init__(self, monitor: Monitor, arrays: Arrays, names: ModuleNames, guard: Guard) -> None:
        super().__init__(monitor)
        self._activations = Activations("inputs", monitor, arrays, names.of, {})
        self._hook = guard(forward_hook(self._activations, monitor.note, self._before_forward))

    def wanted(self, step: int) -> bool:
        """Return whether a step's inputs are wanted."""
        return self._activations.wanted(step)

    def register(self) -> Any:
        """Hook all modules."""
        return nn.modules.module.register_module_forward_pre_hook(self._hook)

    def hand_on(self, sample: Sample) -> None:
        """Put what activations were given into a sample."""
        self._activations.take(sample)

    def forget(self) -> None:
        """Let go of what was seen."""
        self._activations.drop()

    def _before_forward(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        kind = kind_of(module)
        if kind is not None and given and trains(given[0]):
            self._activations.add(module, kind, given[0].detach())

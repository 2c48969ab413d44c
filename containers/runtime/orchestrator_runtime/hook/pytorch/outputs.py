"""What activations give, at sampled steps only: between them no module has a hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from orchestrator_runtime.hook.pytorch.activations import Activations, forward_hook
from orchestrator_runtime.hook.pytorch.arrays import has_memory
from orchestrator_runtime.hook.pytorch.hooked import HookedModules
from orchestrator_runtime.hook.pytorch.units import unit_axis

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator_runtime.hook.guard import Guard
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.arrays import Arrays
    from orchestrator_runtime.hook.pytorch.names import ModuleNames
    from orchestrator_runtime.hook.pytorch.sample import Sample

PREFIX = "outputs/"
END = 0.01
"""How near to the end of its range an output counts as saturated, as a share of the range."""
NEARLY_ALL = 0.99
_RECTIFIERS = (nn.ReLU, nn.ReLU6)
_SIGMOIDS = (nn.Sigmoid, nn.Hardsigmoid)
_TANHS = (nn.Tanh, nn.Hardtanh)
_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
_BACKWARDS = {"ReluBackward0": "relu", "SigmoidBackward0": "sigmoid", "TanhBackward0": "tanh"}
"""Names by which autograd knows activations that are functions, not modules."""


class Outputs(HookedModules):
    """Hooks all modules behind one step's forward pass."""

    def __init__(self, monitor: Monitor, arrays: Arrays, names: ModuleNames, guard: Guard) -> None:
        super().__init__(monitor)
        self._names = names
        self._given: dict[int, nn.Module] = {}
        self._activations = Activations("outputs", monitor, arrays, self._name_of, _STATISTICS)
        self._hook = guard(forward_hook(self._activations, monitor.note, self._on_forward))

    def wanted(self, step: int) -> bool:
        """Return whether a step's outputs are wanted."""
        return self._activations.wanted(step)

    def register(self) -> Any:
        """Hook all modules."""
        return nn.modules.module.register_module_forward_hook(self._hook)

    def hand_on(self, sample: Sample) -> None:
        """Put what activations gave into a sample."""
        self._activations.take(sample)

    def forget(self) -> None:
        """Let go of what was seen."""
        self._activations.drop()
        self._given = {}

    def _name_of(self, module: nn.Module) -> str:
        name = self._names.of(module)
        return f"{name}.input" if isinstance(module, _WEIGHTED) else name

    def _on_forward(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        found = _activation(module, given, output)
        if found is None:
            return
        kind, values = found
        if values.data_ptr() in self._given and module is not self._given[values.data_ptr()]:
            return  # what an activation's module gave is what the next one is given
        self._given[values.data_ptr()] = module
        self._activations.add(module, kind, values)


def _activation(
    module: nn.Module, given: tuple[Any, ...], output: Any
) -> tuple[str, torch.Tensor] | None:
    """Return the kind and values of an activation that trains; None for anything else."""
    kind = kind_of(module)
    if kind is not None:
        return (kind, output.detach()) if trains(output) else None
    if isinstance(module, _WEIGHTED) and given and trains(given[0]):
        function = _BACKWARDS.get(given[0].grad_fn.name())
        return (function, given[0].detach()) if function is not None else None
    return None


def kind_of(module: nn.Module) -> str | None:
    """Return which activation a module is; None for any other module."""
    if isinstance(module, _RECTIFIERS):
        return "relu"
    if isinstance(module, _SIGMOIDS):
        return "sigmoid"
    return "tanh" if isinstance(module, _TANHS) else None


def trains(values: Any) -> bool:
    """Return whether these are values that gradients will flow through."""
    return (
        type(values) is torch.Tensor
        and values.grad_fn is not None
        and values.dim() > 1
        and values.is_floating_point()
        and has_memory(values)
    )


def _by_unit(flags: torch.Tensor) -> torch.Tensor:
    """Return for each unit the share of inputs for which a flag is set.

    Units are the channels of pictures, (N, C, H, W), else the last axis.
    """
    return flags.movedim(unit_axis(flags), 0).flatten(1).float().mean(1)


def _zeros(_: str, values: torch.Tensor) -> torch.Tensor:
    return (values == 0).float().mean()


def _idle_units(_: str, values: torch.Tensor) -> torch.Tensor:
    return (_by_unit(values == 0) == 1.0).float().mean()


def _saturated(kind: str, values: torch.Tensor) -> torch.Tensor:
    if kind == "relu":
        return torch.zeros((), device=values.device)
    low = 0.0 if kind == "sigmoid" else -1.0
    away = END * (1.0 - low)
    at_end = (values > 1.0 - away) | (values < low + away)
    return (_by_unit(at_end) >= NEARLY_ALL).float().mean()


def _abs_max(_: str, values: torch.Tensor) -> torch.Tensor:
    return values.abs().amax().float()


_STATISTICS: dict[str, Callable[[str, torch.Tensor], torch.Tensor]] = {
    "outputs/zeros": _zeros,
    "outputs/idle_units": _idle_units,
    "outputs/saturated": _saturated,
    "outputs/abs_max": _abs_max,
}

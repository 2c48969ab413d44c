"""What activations give, at sampled steps only: between them no module has a hook."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from orchestrator_runtime.hook.pytorch.graphs import capturing
from orchestrator_runtime.hook.pytorch.names import module_names
from orchestrator_runtime.trace.record import Table, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator_runtime.hook.guard import Guard
    from orchestrator_runtime.hook.monitor import Monitor

PREFIX = "outputs/"
END = 0.01
"""How near to the end of its range an output counts as saturated, as a share of the range."""
NEARLY_ALL = 0.99
MOST_LOOKS = 8
"""Searches of the memory for modules that have no name yet; some programs make new ones always."""
_RECTIFIERS = (nn.ReLU, nn.ReLU6)
_SIGMOIDS = (nn.Sigmoid, nn.Hardsigmoid)
_TANHS = (nn.Tanh, nn.Hardtanh)
_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
_BACKWARDS = {"ReluBackward0": "relu", "SigmoidBackward0": "sigmoid", "TanhBackward0": "tanh"}
"""Names by which autograd knows activations that are functions, not modules."""


class Outputs:
    """Hooks all modules for one step, and takes the hooks away."""

    def __init__(self, monitor: Monitor, guard: Guard) -> None:
        self._monitor = monitor
        self._see = guard(self._on_forward)
        self._handle: Any = None
        self._wanted: tuple[str, ...] = ()
        self._seen: dict[int, tuple[nn.Module, str, tuple[int, ...], list[torch.Tensor]]] = {}
        self._tables: dict[tuple[Tensor, ...], Table] = {}
        self._names: dict[int, str] = {}
        self._looks = 0
        self._given: dict[int, nn.Module] = {}

    def arm(self, step: int) -> None:
        """Hook the modules if a step's outputs are wanted; those of step 0 are taken at step 1."""
        due = self._monitor.schedule.due(0 if step == 1 else step)
        self._wanted = tuple(name for name in due if name.startswith(PREFIX))
        if not self._wanted or self._handle is not None:
            return
        if _compiles():
            self._monitor.note("activations of compiled models are not measured")
            return
        self._handle = nn.modules.module.register_module_forward_hook(self._see)

    def take(
        self, models: Callable[[], Sequence[nn.Module]]
    ) -> list[tuple[str, Table, list[Any]]]:
        """Remove the hooks; return statistics by series, in the order of the forward pass."""
        if self._handle is None:
            return []
        seen = list(self._seen.values())
        self.disarm()
        if not seen:
            return []
        unknown = any(id(module) not in self._names for module, *_ in seen)
        if unknown and self._looks < MOST_LOOKS:
            self._looks += 1
            self._names = module_names(models())
        tensors = tuple(
            Tensor(self._name_of(module), shape, kind) for module, kind, shape, _ in seen
        )
        table = self._tables.setdefault(tensors, Table("outputs", 0, tensors))
        return [
            (name, table, [numbers[index] for *_, numbers in seen])
            for index, name in enumerate(self._wanted)
        ]

    def disarm(self) -> None:
        """Remove the hooks, and forget what they have seen."""
        if self._handle is not None:
            self._handle.remove()
        self._handle, self._seen, self._given = None, {}, {}

    def _name_of(self, module: nn.Module) -> str:
        name = self._names.get(id(module), type(module).__name__)
        return f"{name}.input" if isinstance(module, _WEIGHTED) else name

    @torch.no_grad()
    def _on_forward(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        try:
            found = _activation(module, given, output)
            if found is None or capturing():
                return
            kind, values = found
            if values.data_ptr() in self._given and module is not self._given[values.data_ptr()]:
                return  # what an activation's module gave is what the next one is given
            self._given[values.data_ptr()] = module
            numbers = [_STATISTICS[name](kind, values) for name in self._wanted]
            self._seen.pop(id(module), None)
            self._seen[id(module)] = (module, kind, (values.shape[_unit_axis(values)],), numbers)
        except Exception as error:  # noqa: BLE001 -- a forward pass is the program's own
            self._monitor.note(f"activations are not measured: {type(error).__name__}: {error}")
            self._wanted = ()


def _activation(
    module: nn.Module, given: tuple[Any, ...], output: Any
) -> tuple[str, torch.Tensor] | None:
    """Return the kind and values of an activation that trains; None for anything else."""
    kind = _kind_of(module)
    if kind is not None:
        return (kind, output.detach()) if _trains(output) else None
    if isinstance(module, _WEIGHTED) and given and _trains(given[0]):
        function = _BACKWARDS.get(given[0].grad_fn.name())
        return (function, given[0].detach()) if function is not None else None
    return None


def _kind_of(module: nn.Module) -> str | None:
    if isinstance(module, _RECTIFIERS):
        return "relu"
    if isinstance(module, _SIGMOIDS):
        return "sigmoid"
    return "tanh" if isinstance(module, _TANHS) else None


def _trains(values: Any) -> bool:
    return (
        type(values) is torch.Tensor
        and values.grad_fn is not None
        and values.dim() > 1
        and values.is_floating_point()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


def _by_unit(flags: torch.Tensor) -> torch.Tensor:
    """Return for each unit the share of inputs for which a flag is set.

    Units are the channels of pictures, (N, C, H, W), else the last axis.
    """
    return flags.movedim(_unit_axis(flags), 0).flatten(1).float().mean(1)


def _unit_axis(values: torch.Tensor) -> int:
    return 1 if values.dim() >= 4 else values.dim() - 1


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


def _compiles() -> bool:
    """Return whether anything was compiled: hooks would make it be compiled again."""
    frames = getattr(sys.modules.get("torch._dynamo.convert_frame"), "FRAME_COUNTER", 0)
    return bool(frames)

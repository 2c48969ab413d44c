"""What the parameters of an optimizer are called, and what they are for."""

from __future__ import annotations

import functools
import gc
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from torch import nn
from torch.optim import Optimizer

from orchestrator_runtime.trace.record import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_frozen: list[weakref.ref[Any]] = []
_Kind = TypeVar("_Kind")
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_SCALES = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


class Named(NamedTuple):
    """A parameter with its description, in the order of the model."""

    parameter: nn.Parameter
    tensor: Tensor


def living_models() -> list[nn.Module]:
    """Return the modules of this process that are no part of another."""
    found = living(nn.Module)
    inner = {
        id(child)
        for module in found
        for child in module.__dict__.get("_modules", {}).values()
        if child is not None
    }
    return [module for module in found if id(module) not in inner]


def remember_what_freezes() -> None:
    """Remember what `living` will not find once ``gc.freeze`` has put it out of sight."""
    freeze = gc.freeze
    if hasattr(freeze, "__wrapped__"):  # by an earlier call, if not by somebody else
        return

    @functools.wraps(freeze)
    def freezing() -> None:
        _frozen[:] = map(weakref.ref, [*living(nn.Module), *living(Optimizer)])
        freeze()

    gc.freeze = freezing


def living(kind: type[_Kind]) -> list[_Kind]:
    """Return all objects of a kind, modules or optimizers, in this process's memory."""
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]
    if _frozen:
        known = {id(thing) for thing in found}
        kept = [reference() for reference in _frozen]
        found += [each for each in kept if isinstance(each, kind) and id(each) not in known]
    return found


def module_names(models: Iterable[nn.Module]) -> dict[int, str]:
    """Return what the modules are called, by their identity."""
    names: dict[int, str] = {}
    for model in models:
        for name, module in model.named_modules():
            names.setdefault(id(module), clean(name) or type(module).__name__)
    return names


MOST_LOOKS = 8
"""Searches of the memory for modules that have no name yet; some programs make new ones always."""


class ModuleNames:
    """Names of modules; the living models are asked again when one is not known."""

    def __init__(self, living: Callable[[], Sequence[nn.Module]]) -> None:
        self._living = living
        self._names: dict[int, str] = {}
        self._looks = 0

    def of(self, module: nn.Module) -> str:
        """Return what a module is called."""
        identity = id(module)
        if identity not in self._names and self._looks < MOST_LOOKS:
            self._looks += 1
            self._names = module_names(self._living())
        return self._names.get(identity, type(module).__name__)


def named_parameters(
    parameters: Sequence[nn.Parameter], models: Iterable[nn.Module]
) -> list[Named]:
    """Name parameters after the model that has most of them, and put them into its order.

    Those that no model has come last, as ``group.N``.
    """
    wanted = {id(parameter): parameter for parameter in parameters}
    found: dict[int, Named] = {}
    taken: set[str] = set()
    shares = [(_known(model, wanted), model) for model in models]
    for count, model in sorted(shares, key=lambda share: -share[0]):
        if count and len(found) < len(wanted):
            mine = [each for each in _of_model(model) if id(each.parameter) in wanted]
            for named in _apart(mine, taken, type(model).__name__):
                found.setdefault(id(named.parameter), named)
    ordered = list(found.values())
    for index, (identity, parameter) in enumerate(wanted.items()):
        if identity not in found:
            ordered.append(Named(parameter, _tensor(f"group.{index}", parameter, None)))
    return ordered


def _apart(mine: list[Named], taken: set[str], kind: str) -> list[Named]:
    """Put something before the names of a model whose names another model has taken."""
    names = {named.tensor.name for named in mine}
    prefix, number = "", 1
    while {prefix + name for name in names} & taken:
        number += 1
        prefix = f"{kind}{number}."
    taken |= {prefix + name for name in names}
    if not prefix:
        return mine
    return [
        Named(named.parameter, named.tensor._replace(name=prefix + named.tensor.name))
        for named in mine
    ]


def _known(model: nn.Module, wanted: dict[int, nn.Parameter]) -> int:
    try:
        return sum(id(parameter) in wanted for parameter in model.parameters())
    except Exception:  # noqa: BLE001 -- a module that is not made yet, or made in an odd way
        return 0


def _of_model(model: nn.Module) -> Iterable[Named]:
    for prefix, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                full = clean(f"{prefix}.{name}" if prefix else name)
                yield Named(parameter, _tensor(full, parameter, module))


def clean(name: str) -> str:
    """Leave out what wrappers put into names."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    return ".".join(parts)


def _tensor(name: str, parameter: nn.Parameter, module: nn.Module | None) -> Tensor:
    shape = tuple(parameter.shape)
    return Tensor(name, shape, _role(name, parameter, module), parameter.requires_grad)


def _role(name: str, parameter: nn.Parameter, module: nn.Module | None) -> str:
    if name.endswith((".weight_g", "parametrizations.weight.original0")):  # of weight_norm
        return "scale"
    if isinstance(module, _EMBEDDINGS):
        return "embedding"
    if isinstance(module, _SCALES) or type(module).__name__.endswith("Norm"):
        return "scale"
    return "matrix" if parameter.dim() >= 2 else "vector"

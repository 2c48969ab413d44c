"""What the parameters of an optimizer are called, and what they are for."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from orchestrator_runtime.trace.record import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_SCALES = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


class Named(NamedTuple):
    """A parameter with its description, in the order of the model."""

    parameter: nn.Parameter
    tensor: Tensor


def living_models() -> list[nn.Module]:
    """Return the modules of this process that are no part of another."""
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)]
    inner = {
        id(child)
        for module in found
        for child in module.__dict__.get("_modules", {}).values()
        if child is not None
    }
    return [module for module in found if id(module) not in inner]


def module_names(models: Iterable[nn.Module]) -> dict[int, str]:
    """Return what the modules are called, by their identity."""
    names: dict[int, str] = {}
    for model in models:
        for name, module in model.named_modules():
            names.setdefault(id(module), clean(name) or type(module).__name__)
    return names


class ModuleNames:
    """Names of modules; the living models are asked again when one is not known."""

    def __init__(self, living: Callable[[], Sequence[nn.Module]]) -> None:
        self._living = living
        self._names: dict[int, str] = {}
        self._asked: set[int] = set()

    def of(self, module: nn.Module) -> str:
        """Return what a module is called."""
        identity = id(module)
        if identity not in self._names and identity not in self._asked:
            self._asked.add(identity)
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
    shares = [(_known(model, wanted), model) for model in models]
    for count, model in sorted(shares, key=lambda share: -share[0]):
        if count and len(found) < len(wanted):
            for named in _of_model(model):
                if id(named.parameter) in wanted:
                    found.setdefault(id(named.parameter), named)
    ordered = list(found.values())
    for index, (identity, parameter) in enumerate(wanted.items()):
        if identity not in found:
            ordered.append(Named(parameter, _tensor(f"group.{index}", parameter, None)))
    return ordered


def _known(model: nn.Module, wanted: dict[int, nn.Parameter]) -> int:
    return sum(id(parameter) in wanted for parameter in model.parameters())


def _of_model(model: nn.Module) -> Iterable[Named]:
    for prefix, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                full = clean(f"{prefix}.{name}" if prefix else name)
                yield Named(parameter, _tensor(full, parameter, module))


def clean(name: str) -> str:
    """Leave out what wrappers put into names."""
    for wrapper in _WRAPPERS:
        if name.startswith(wrapper):
            name = name[len(wrapper) :]
        name = name.replace("." + wrapper, ".")
    return name


def _tensor(name: str, parameter: nn.Parameter, module: nn.Module | None) -> Tensor:
    shape = tuple(parameter.shape)
    return Tensor(name, shape, _role(parameter, module), parameter.requires_grad)


def _role(parameter: nn.Parameter, module: nn.Module | None) -> str:
    if isinstance(module, _EMBEDDINGS):
        return "embedding"
    if isinstance(module, _SCALES) or type(module).__name__.endswith("Norm"):
        return "scale"
    return "matrix" if parameter.dim() >= 2 else "vector"

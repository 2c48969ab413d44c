"""What the variables of an optimizer are called, and what they are for; needs no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime.trace.record import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCALES = ("gamma", "beta", "scale")
_MATRIX = 2


def named(variables: Iterable[Any]) -> tuple[Tensor, ...]:
    """Describe variables, in the order in which the optimizer was given them.

    They bear their paths, as ``sequential/dense/kernel``; a path that occurs again gets ``#2``.
    """
    seen: dict[str, int] = {}
    return tuple(_tensor(variable, seen) for variable in variables)


def _tensor(variable: Any, seen: dict[str, int]) -> Tensor:
    path = getattr(variable, "path", None) or str(variable.name).split(":", 1)[0]
    seen[path] = seen.get(path, 0) + 1
    name = path if seen[path] == 1 else f"{path}#{seen[path]}"
    shape = tuple(int(length) for length in variable.shape)
    return Tensor(name, shape, _role(path.rsplit("/", 1)[-1], shape))


def _role(last: str, shape: tuple[int, ...]) -> str:
    if last.startswith("embeddings"):
        return "embedding"
    if last in _SCALES:
        return "scale"
    if len(shape) < _MATRIX or last.endswith("bias"):  # a bias of attention has two axes
        return "vector"
    return "matrix"


def is_wide(tensor: Tensor) -> bool:
    """Return whether a tensor has output units: its last axis, as in a kernel of Keras."""
    return tensor.role in ("matrix", "embedding") and len(tensor.shape) >= _MATRIX

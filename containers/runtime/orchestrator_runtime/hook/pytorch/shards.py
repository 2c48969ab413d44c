"""Tensors that are spread over processes (FSDP2, tensor parallelism): each holds a part.

What a process measures of its part is completed by one collective per process group. All
processes must therefore measure the same at the same step, whether they record or not.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

COMPLETED = frozenset({"l2", "abs_max", "non_finite", "nan"})
"""Statistics of a whole that follow from those of its parts."""


def is_spread(tensor: Tensor) -> bool:
    """Return whether a tensor is a DTensor."""
    module = sys.modules.get("torch.distributed.tensor")
    kind = getattr(module, "DTensor", None)
    return kind is not None and isinstance(tensor, kind)


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds."""
    if not is_spread(tensor):
        return tensor
    part: Tensor = tensor._local_tensor  # type: ignore[attr-defined]
    return part


def measured(
    name: str,
    statistic: Callable[[Sequence[Tensor]], list[Tensor]],
    tensors: Sequence[Tensor],
) -> list[Tensor] | None:
    """Return a statistic of whole tensors; None where parts do not tell it.

    Args:
        name: Of the statistic.
        statistic: Measures what this process holds.
        tensors: Whole ones or DTensors.
    """
    if not any(is_spread(tensor) for tensor in tensors):
        return statistic(tensors)
    if name not in COMPLETED:
        return None
    return completed(name, statistic([local(tensor) for tensor in tensors]), tensors)


def completed(name: str, numbers: list[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return a statistic of whole tensors, from those of the parts that this process holds."""
    for group, indices in _groups(tensors).items():
        parts = torch.stack([numbers[index] for index in indices])
        for index, number in zip(indices, _reduce(name, parts, group)):
            numbers[index] = number
    return numbers


def _reduce(name: str, parts: Tensor, group: Any) -> Tensor:
    operation = torch.distributed.ReduceOp
    if name == "abs_max":
        torch.distributed.all_reduce(parts, operation.MAX, group=group)
        return parts
    if name != "l2":
        torch.distributed.all_reduce(parts, operation.SUM, group=group)
        return parts
    squares = parts.double().square()  # a square of single precision overflows soon
    torch.distributed.all_reduce(squares, operation.SUM, group=group)
    return squares.sqrt().to(parts.dtype)


def _groups(tensors: Sequence[Tensor]) -> dict[Any, list[int]]:
    """Return for each process group that parts are spread over the tensors concerned."""
    groups: dict[Any, list[int]] = {}
    for index, tensor in enumerate(tensors):
        if not is_spread(tensor):
            continue
        mesh: Any = tensor.device_mesh  # type: ignore[attr-defined]
        placements: Any = tensor.placements  # type: ignore[attr-defined]
        for dimension, placement in enumerate(placements):
            if placement.is_shard():
                groups.setdefault(mesh.get_group(dimension), []).append(index)
    return groups

"""By how much a step changes the weights, from a sample of their elements.

Reading all weights twice would cost as much as two steps' gradient norms, and a copy of them may
not fit. BLOCKS short runs of elements of each tensor, evenly spread, give a norm to some percent;
runs, because a processor reads memory in such.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from orchestrator_runtime.hook.pytorch import measure
from orchestrator_runtime.hook.pytorch.shards import completed, local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

BLOCKS = 64
LENGTH = 16
MOST_ELEMENTS = BLOCKS * LENGTH
"""Elements of a sample. Of tensors that are not twice as large all are taken."""


class _Batch(NamedTuple):
    """Tensors of one device and type, which are copied together.

    Attributes:
        sizes: Elements of each; None if all are samples.
    """

    indices: list[int]
    views: list[Tensor]
    sizes: list[int] | None


class Updates:
    """Samples of some parameters, before and after a step."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._parameters = parameters
        self._places: list[int] = []
        self._batches: list[_Batch] = []
        self._before: list[Tensor] | None = None

    def take(self) -> None:
        """Keep a sample of the weights as they are before a step."""
        places = [local(parameter).data_ptr() for parameter in self._parameters]
        if places != self._places:  # new storage, such as after ``to(device)``
            self._places, self._batches = places, _batches(self._parameters)
        self._before = [torch.cat(batch.views) for batch in self._batches]

    def forget(self) -> None:
        """Let go of a sample whose step was not made."""
        self._before = None

    def changes(self) -> tuple[list[Tensor], list[Tensor]] | None:
        """Return L2 of what changed, and of the weights before; None if nothing was kept."""
        before, self._before = self._before, None
        if not before:
            return None
        moved: list[Tensor] = [before[0]] * len(self._parameters)
        weights = list(moved)
        for batch, old in zip(self._batches, before):
            change = torch.cat(batch.views).sub_(old)
            parts = zip(batch.indices, _norms(change, batch.sizes), _norms(old, batch.sizes))
            for index, of_change, of_weights in parts:
                moved[index], weights[index] = of_change, of_weights
        return (
            completed("l2", moved, self._parameters),
            completed("l2", weights, self._parameters),
        )


def _norms(values: Tensor, sizes: list[int] | None) -> Sequence[Tensor]:
    if sizes is not None:
        return measure.l2(values.split(sizes))  # type: ignore[no-untyped-call]
    return measure.l2_of_rows(values.view(-1, MOST_ELEMENTS)).unbind()


def _batches(parameters: Sequence[torch.nn.Parameter]) -> list[_Batch]:
    batches: dict[tuple[torch.device, torch.dtype, bool], _Batch] = {}
    for index, parameter in enumerate(parameters):
        tensor = local(parameter.detach())
        flat = _flat(tensor)
        is_sampled = flat.numel() >= 2 * MOST_ELEMENTS
        batch = batches.setdefault(
            (flat.device, flat.dtype, is_sampled), _Batch([], [], None if is_sampled else [])
        )
        batch.indices.append(index)
        batch.views.append(blocks(flat, measure.row_of(tensor)) if is_sampled else flat)
        if batch.sizes is not None:
            batch.sizes.append(flat.numel())
    return list(batches.values())


def _flat(tensor: Tensor) -> Tensor:
    """Return a view with one axis; it follows what happens to the tensor."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    if not _is_dense(tensor):
        for axis in range(tensor.dim() - 1, 0, -1):  # to flatten it would be to copy it
            tensor = tensor.select(axis, 0)
        return tensor[:MOST_ELEMENTS]
    # Dense in another order (channels last): the order does not matter for a norm.
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())


def blocks(flat: Tensor, row: int) -> Tensor:
    """Return a view of evenly spread runs of elements.

    Args:
        flat: The elements.
        row: How many of them make a row.
    """
    step = (flat.numel() - LENGTH) // (BLOCKS - 1)
    # With a factor in common some columns of a matrix would never be seen.
    while math.gcd(step, row) > 1 and step > LENGTH:
        step -= 1
    return flat.as_strided((BLOCKS, LENGTH), (step, 1), flat.storage_offset())


def _is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor's elements lie next to each other, in whatever order."""
    expected = 1
    for length, step in sorted(zip(tensor.shape, tensor.stride()), key=lambda pair: pair[1]):
        if length != 1 and step != expected:
            return False
        expected *= length
    return True

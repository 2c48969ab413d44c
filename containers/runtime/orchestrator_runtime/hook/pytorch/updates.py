"""By how much a step changes the weights, from a sample of their elements.

Reading all weights twice would cost as much as two steps' gradient norms, and a copy of them may
not fit. About MOST_ELEMENTS elements of each tensor, evenly spread, give a norm to about 2 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from orchestrator_runtime.hook.pytorch import measure
from orchestrator_runtime.hook.pytorch.shards import completed, local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

MOST_ELEMENTS = 1024


class _Batch(NamedTuple):
    """Tensors of one device and type, which are copied together."""

    indices: list[int]
    views: list[Tensor]
    sizes: list[int]


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


def _norms(values: Tensor, sizes: list[int]) -> list[Tensor]:
    return measure.l2(values.split(sizes))  # type: ignore[no-untyped-call]


def _batches(parameters: Sequence[torch.nn.Parameter]) -> list[_Batch]:
    batches: dict[tuple[torch.device, torch.dtype], _Batch] = {}
    for index, parameter in enumerate(parameters):
        view = _view(local(parameter.detach()))
        batch = batches.setdefault((view.device, view.dtype), _Batch([], [], []))
        batch.indices.append(index)
        batch.views.append(view)
        batch.sizes.append(view.numel())
    return list(batches.values())


def _view(tensor: Tensor) -> Tensor:
    """Return a view of evenly spread elements; it follows what happens to the tensor."""
    if tensor.is_contiguous():
        flat = tensor.view(-1)
    else:  # dense in another order (channels last): the order does not matter for a norm
        if not _is_dense(tensor):
            return tensor.flatten(1)[:MOST_ELEMENTS, 0]
        flat = tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    return flat[:: stride(flat.numel())]


def _is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor's elements lie next to each other, in whatever order."""
    expected = 1
    for length, step in sorted(zip(tensor.shape, tensor.stride()), key=lambda pair: pair[1]):
        if length != 1 and step != expected:
            return False
        expected *= length
    return True


def stride(elements: int) -> int:
    """Return an odd step: with an even one whole columns of a matrix would never be seen."""
    return 1 if elements <= MOST_ELEMENTS else (elements // MOST_ELEMENTS) | 1

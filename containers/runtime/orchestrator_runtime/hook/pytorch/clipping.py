"""What gradient clipping did between two steps, told by whose gradients it was.

PyTorch clips in two functions since 2.6: one measures, one multiplies by
``min(1, max_norm / (total + 1e-6))``. A program may clip some of an optimizer's gradients, or
those of several optimizers at once.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from orchestrator_runtime.hook.pytorch import measure, shards
from orchestrator_runtime.hook.pytorch.graphs import capturing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

MOST_CLIPS = 16
"""Calls that are kept for steps to come."""


class _Clip(NamedTuple):
    """One call.

    Attributes:
        first: The first of the gradients; when it is gone, so is the rest.
        gradients: Identities of those that no step has used since.
        backwards: Passes before it.
        total: The norm before it, over all of its gradients.
        is_l2: Whether that is the L2 norm.
    """

    first: weakref.ref[Tensor]
    gradients: set[int]
    number: int
    backwards: int
    total: Tensor
    is_l2: bool
    max_norm: float


class Clips:
    """The calls that no step has used yet."""

    def __init__(self) -> None:
        self._clips: list[_Clip] = []
        self._l2: Callable[[], Tensor | None] = _nothing

    def on_norm(self, norm_type: Any, norm: Any) -> None:
        """Note that a total norm was computed, and of which order."""
        self._l2 = weakref.ref(norm) if float(norm_type) == 2.0 else _nothing

    def on_clip(self, parameters: Any, max_norm: Any, total: Any, backwards: int) -> None:
        """Note that the gradients of parameters were clipped."""
        parameters = [parameters] if isinstance(parameters, torch.Tensor) else parameters
        gradients = [each.grad for each in parameters if each.grad is not None]
        if not gradients or not isinstance(total, torch.Tensor) or capturing():
            return  # what a CUDA graph will clip is not known
        first = gradients[0]
        for clip in self._clips:
            if clip.first() is first and clip.backwards == backwards:
                return  # clipped once more: what was before is known
        alive = [clip for clip in self._clips if clip.first() is not None]
        self._clips = [clip for clip in alive if clip.first() is not first][-MOST_CLIPS + 1 :]
        is_l2 = self._l2() is total
        self._clips.append(
            _Clip(
                weakref.ref(first),
                {id(gradient) for gradient in gradients},
                len(gradients),
                backwards,
                total.detach(),
                is_l2,
                float(max_norm),
            )
        )

    def norm_before(self, parameters: Iterable[Tensor]) -> Tensor | None:
        """Return the L2 norm of parameters' gradients before clipping; None without clipping.

        All processes of a distributed run must ask.
        """
        if not self._clips:
            return None
        gradients = [each.grad for each in parameters if each.grad is not None]
        used = self._use({id(gradient) for gradient in gradients})
        if not used:
            return None
        clip, ours = used[0]
        if clip.is_l2 and clip.number == len(ours) == len(gradients):
            return whole(clip.total)
        return _combined(used, gradients)

    def _use(self, gradients: set[int]) -> list[tuple[_Clip, set[int]]]:
        used = []
        for clip in self._clips:
            ours = clip.gradients & gradients if clip.first() is not None else set()
            if ours:
                clip.gradients.difference_update(ours)
                used.append((clip, ours))
        self._clips = [clip for clip in self._clips if clip.gradients]
        return used


def whole(norm: Tensor) -> Tensor:
    """Return a norm that may be spread over processes (FSDP2); a collective, then."""
    if shards.is_spread(norm):
        norm = norm.full_tensor()  # type: ignore[attr-defined]
    return norm


def _combined(used: Sequence[tuple[_Clip, set[int]]], gradients: Sequence[Tensor]) -> Tensor:
    """Undo each clipping in the norm of those gradients that it was applied to."""
    parts: list[Tensor] = []
    for clip, ours in used:
        total = whole(clip.total)
        factor = torch.clamp(clip.max_norm / (total + 1e-6), max=1.0)
        clipped = _norm([each for each in gradients if id(each) in ours])
        parts.append(torch.where(factor > 0, clipped / factor, total))
    clipped_ones = set().union(*(ours for _, ours in used))
    rest = [each for each in gradients if id(each) not in clipped_ones]
    if rest:
        parts.append(_norm(rest))
    return _hypot(parts)


def _norm(gradients: Sequence[Tensor]) -> Tensor:
    values = [each.coalesce().values() if each.is_sparse else each for each in gradients]
    return _hypot(shards.measured("l2", measure.l2, values) or [])


def _hypot(parts: Sequence[Tensor]) -> Tensor:
    device = parts[0].device
    vector = torch.stack([part.double().to(device) for part in parts])
    norm: Tensor = torch.linalg.vector_norm(vector)
    return norm


def _nothing() -> None:
    return None

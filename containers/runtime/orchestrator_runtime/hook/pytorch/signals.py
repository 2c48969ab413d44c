"""What happens between two steps: losses, backward passes, clipping, a scaler's scale."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from orchestrator_runtime.hook.pytorch.graphs import outside_graphs
from orchestrator_runtime.hook.pytorch.shards import is_spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from orchestrator_runtime.hook.guard import Guard

MOST_LOSSES = 256
"""Losses that are kept until a step; a program that never steps must not fill the memory."""


class Signals:
    """What has been seen since the last step."""

    def __init__(self) -> None:
        self.backwards = 0
        self.total_backwards = 0
        self._losses: list[Tensor] = []
        self._first_closure: int | None = None
        self._last_loss: Tensor | None = None
        self._norm_before_clip: Tensor | None = None
        self._scale: Tensor | None = None

    def on_backward(self, roots: Any) -> None:
        """Remember the loss that ``backward`` was called on."""
        self.backwards += 1
        self.total_backwards += 1
        root = roots[0] if isinstance(roots, (tuple, list)) and len(roots) == 1 else roots
        if not isinstance(root, torch.Tensor) or root.numel() != 1:
            return
        loss = root.detach()
        if self._scale is not None:
            loss = loss / self._scale.to(loss.device, non_blocking=True)
        if len(self._losses) >= MOST_LOSSES:
            self._losses.pop(0)
        self._losses.append(loss)

    def on_closure(self) -> None:
        """Note that a closure has been run; some optimizers run it many times in one step."""
        if self._first_closure is None:
            self._first_closure = len(self._losses)

    def on_clip(self, norm: Any) -> None:
        """Remember the total norm before clipping."""
        if isinstance(norm, torch.Tensor) and norm.numel() == 1:
            self._norm_before_clip = norm.detach()

    def on_scale(self, scale: Tensor | None) -> None:
        """Remember by what a gradient scaler multiplies losses; it changes its tensor in place."""
        self._scale = None if scale is None else scale.detach().clone()

    def take_loss(self) -> Tensor | None:
        """Return the sum of the losses since the last step: what the gradients are of.

        Two optimizers may step after one backward pass: the second gets the same loss. Where a
        closure was run more than once, it is the loss of the first time, at the step's start.
        """
        first, self._first_closure = self._first_closure, None
        if self._losses:
            losses, self._losses = self._losses[:first] or self._losses, []
            total = losses[0]
            for loss in losses[1:]:
                total = total + loss.to(total.device)
            self._last_loss = total
        return self._last_loss

    def take_norm_before_clip(self) -> Tensor | None:
        """Return the norm before clipping, if there was clipping since the last step."""
        norm, self._norm_before_clip = self._norm_before_clip, None
        if norm is not None and is_spread(norm):  # FSDP2: a collective, which all processes call
            whole: Tensor = norm.full_tensor()  # type: ignore[attr-defined]
            return whole
        return norm

    def take_backwards(self) -> int:
        """Return the number of backward passes since the last step."""
        count, self.backwards = self.backwards, 0
        return count


def wrap(
    owner: Any, name: str, guard: Guard, after: Callable[[Any, tuple[Any, ...], Any], None]
) -> Callable[[], None]:
    """Replace a function by one that tells ``after(first argument, arguments, result)``.

    Returns what takes that back, unless somebody else has wrapped it since.
    """
    original = getattr(owner, name)
    tell = outside_graphs(guard(after))

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        tell(args[0] if args else next(iter(kwargs.values()), None), args, result)
        return result

    setattr(owner, name, wrapped)
    return lambda: _put_back(owner, name, wrapped, original)


def _put_back(owner: Any, name: str, wrapped: Any, original: Any) -> None:
    if getattr(owner, name) is wrapped:
        setattr(owner, name, original)


def listen(
    signals: Signals, guard: Guard, skipped: Callable[[Any, Any], Any]
) -> list[Callable[[], None]]:
    """Put the listeners into PyTorch; ``skipped(optimizer, call)`` runs a scaler's step.

    Returns what takes them out again.
    """
    undo = [
        wrap(torch.autograd, "backward", guard, lambda roots, _, __: signals.on_backward(roots))
    ]
    clipping = torch.nn.utils.clip_grad
    if hasattr(clipping, "_get_total_norm"):
        undo += [
            wrap(
                clipping,
                "_get_total_norm",
                guard,
                lambda _, args, norm: _on_norm(signals, args, norm),
            )
        ]
    else:  # before PyTorch 2.6
        undo += [
            wrap(owner, "clip_grad_norm_", guard, lambda _, __, norm: signals.on_clip(norm))
            for owner in (torch.nn.utils, clipping)
        ]
    scaler = _scaler_class()
    if scaler is not None:
        undo += [wrap(scaler, "scale", guard, lambda self, _, __: signals.on_scale(self._scale))]
        step = scaler.step

        @functools.wraps(step)
        def stepped(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            return skipped(optimizer, lambda: step(self, optimizer, *args, **kwargs))

        scaler.step = stepped
        undo += [lambda: _put_back(scaler, "step", stepped, step)]
    return undo


def _on_norm(signals: Signals, args: tuple[Any, ...], norm: Any) -> None:
    if len(args) < 2 or float(args[1]) == 2.0:
        signals.on_clip(norm)


def _scaler_class() -> Any:
    amp = getattr(torch, "amp", None)
    scaler = getattr(amp, "GradScaler", None)
    return scaler if scaler is not None else getattr(torch.cuda.amp, "GradScaler", None)

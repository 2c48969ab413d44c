"""What happens between two steps: losses, backward passes, clipping, a scaler's scale."""

from __future__ import annotations

import functools
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Union

import torch

from orchestrator_runtime.hook.pytorch.clipping import Clips
from orchestrator_runtime.hook.pytorch.entry import entry, telling
from orchestrator_runtime.hook.pytorch.graphs import capturing

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from orchestrator_runtime.hook.guard import Guard

    Loss = Union[float, Tensor]


class Signals:
    """What has been seen since the last step.

    Attributes:
        total_backwards: Backward passes of this process.
        clips: Calls of gradient clipping.
    """

    def __init__(self) -> None:
        self.total_backwards = 0
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.clips = Clips()
        self._backwards = 0
        self._loss: Loss | None = None
        self._first_loss: Loss | None = None
        self._last_loss: Loss | None = None
        self._scale: Tensor | None = None

    def on_backward(self, roots: Any) -> None:
        """Add the losses that ``backward`` was called on."""
        if torch._C._current_graph_task_id() != -1:
            return  # a part of another backward pass: re-entrant checkpointing
        self._backwards += 1
        self.total_backwards += 1
        if capturing():  # what it gives when it is replayed is not seen
            self._loss = self._last_loss = None
            return
        roots = roots if isinstance(roots, (tuple, list)) else (roots,)
        if all(_is_loss(root) for root in roots):
            for root in roots:
                self._add(_value_of(root.detach(), self._scale))

    def _add(self, loss: Loss) -> None:
        known = self._loss
        if known is None:
            self._loss = loss
        elif isinstance(known, torch.Tensor) and isinstance(loss, torch.Tensor):
            self._loss = known + loss.to(known.device)
        else:
            self._loss = known + loss

    def on_closure(self) -> None:
        """Note that a closure has been run; some optimizers run it many times in one step."""
        if self._first_loss is None:
            self._first_loss = self._loss

    def on_scale(self, scale: Tensor | None) -> None:
        """Remember by what a gradient scaler multiplies losses; it changes its tensor in place."""
        self._scale = None if scale is None or capturing() else scale.detach().clone()

    def take_loss(self) -> Loss | None:
        """Return the sum of the losses since the last step: what the gradients are of.

        Two optimizers may step after one backward pass: the second gets the same loss. Where a
        closure was run more than once, it is the loss of the first time, at the step's start.
        """
        loss = self._loss if self._first_loss is None else self._first_loss
        self._loss = self._first_loss = self._scale = None
        if loss is not None:
            self._last_loss = loss
        return self._last_loss

    def take_backwards(self) -> int:
        """Return the number of backward passes since the last step."""
        count, self._backwards = self._backwards, 0
        return count


def _value_of(loss: Tensor, scale: Tensor | None) -> Loss:
    """Return a loss without its scale: a number if that is at hand, else one that is on a device."""
    if loss.device.type == "cpu" and scale is None and loss.is_floating_point():
        return float(loss.item())
    if type(loss) is not torch.Tensor:
        loss = loss.as_subclass(torch.Tensor)
    # The program may go on to change its loss, and a CUDA graph does.
    own = loss.clone() if scale is None else loss / scale.to(loss.device, non_blocking=True)
    return own.reshape(())


def _is_loss(root: Any) -> bool:
    """Return whether a root is one plain number (a DTensor's part would say little)."""
    return (
        isinstance(root, torch.Tensor)
        and root.numel() == 1
        and type(root).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
    )


class Patches:
    """What was put in place of PyTorch's own functions."""

    def __init__(self) -> None:
        self._put: list[tuple[Any, str, Any, Any]] = []

    def put(self, owner: Any, name: str, function: Any) -> None:
        """Replace a function by another."""
        self._put.append((owner, name, function, getattr(owner, name)))
        setattr(owner, name, function)

    def undo(self) -> None:
        """Put back what nobody has replaced since."""
        while self._put:
            owner, name, mine, original = self._put.pop()
            if getattr(owner, name) is mine:
                setattr(owner, name, original)

    def wrap(
        self, owner: Any, name: str, guard: Guard, after: Callable[..., None]
    ) -> Callable[..., Any]:
        """Replace a function by one that tells ``after(result, its arguments)``; return that."""
        wrapped = telling(getattr(owner, name), entry(after, guard))
        self.put(owner, name, wrapped)
        return wrapped


def listen(
    signals: Signals, guard: Guard, skipped: Callable[[Any, Any], Any]
) -> Callable[[], None]:
    """Put the listeners into PyTorch; ``skipped(optimizer, call)`` runs a scaler's step.

    Returns what takes them out again.
    """
    patches = Patches()

    def on_backward(_: Any, tensors: Any = None, *__: Any, **___: Any) -> None:
        signals.on_backward(tensors)

    patches.wrap(torch.autograd, "backward", guard, on_backward)
    _listen_to_clipping(signals, guard, patches)
    scaler = _scaler_class()
    if scaler is not None:
        patches.wrap(
            scaler, "scale", guard, lambda _, self, *__, **___: signals.on_scale(_scale_of(self))
        )
        step = scaler.step

        @functools.wraps(step)
        def stepped(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            return skipped(optimizer, lambda: step(self, optimizer, *args, **kwargs))

        patches.put(scaler, "step", stepped)
    return patches.undo


def _listen_to_clipping(signals: Signals, guard: Guard, patches: Patches) -> None:
    utils, clipping = torch.nn.utils, torch.nn.utils.clip_grad

    def on_norm(norm: Any, _: Any, norm_type: Any = 2.0, *__: Any, **___: Any) -> None:
        signals.clips.on_norm(norm_type, norm)

    def on_clip(
        _: Any, parameters: Any, max_norm: Any, total_norm: Any, *__: Any, **___: Any
    ) -> None:
        signals.clips.on_clip(parameters, max_norm, total_norm, signals.total_backwards)

    def on_both(
        total: Any, parameters: Any, max_norm: Any, norm_type: Any = 2.0, *_: Any, **__: Any
    ) -> None:
        signals.clips.on_norm(norm_type, total)
        signals.clips.on_clip(parameters, max_norm, total, signals.total_backwards)

    if not hasattr(clipping, "_clip_grads_with_norm_"):  # before PyTorch 2.6
        told = _listing(patches.wrap(clipping, "clip_grad_norm_", guard, on_both))
        patches.put(clipping, "clip_grad_norm_", told)
        patches.put(utils, "clip_grad_norm_", told)
        return
    norm = patches.wrap(clipping, "_get_total_norm", guard, on_norm)
    patches.put(utils, "get_total_norm", norm)
    told = _listing(patches.wrap(clipping, "_clip_grads_with_norm_", guard, on_clip))
    patches.put(clipping, "_clip_grads_with_norm_", told)
    patches.put(utils, "clip_grads_with_norm_", told)


def _listing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of parameters a list instead of a generator, which can be read only once."""

    @functools.wraps(function)
    def listed(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(parameters, GeneratorType):
            parameters = list(parameters)
        return function(parameters, *args, **kwargs)

    return listed


def _scale_of(scaler: Any) -> Any:
    """Return what a scaler multiplies by; one that is switched off has nothing of the kind."""
    return getattr(scaler, "_scale", None)


def _scaler_class() -> Any:
    amp = getattr(torch, "amp", None)
    scaler = getattr(amp, "GradScaler", None)
    return scaler if scaler is not None else getattr(torch.cuda.amp, "GradScaler", None)

"""Puts the debugger into PyTorch, once, for every optimizer of the process."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch

from orchestrator_runtime.hook.guard import Guard
from orchestrator_runtime.hook.pytorch.graphs import outside_graphs
from orchestrator_runtime.hook.pytorch.outputs import PREFIX, Outputs
from orchestrator_runtime.hook.pytorch.signals import Signals, listen
from orchestrator_runtime.hook.pytorch.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator_runtime.hook.monitor import Monitor

OLDEST = "2.1"


class Adapter:
    """All optimizers of this process, watched from their first step on."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.guard = Guard()
        # What fails behind the measuring must not keep this process out of the collectives of
        # spread tensors: the others would wait for it.
        self._report = Guard()(monitor.step)
        self.signals = Signals()
        self._outputs = Outputs(monitor) if monitor.schedule.has(PREFIX) else None
        self._watches: dict[int, tuple[Any, Watch]] = {}
        self._models: Sequence[torch.nn.Module] | None = None
        self._nested = threading.local()
        self.before = outside_graphs(self.guard(self._on_before))
        self.after = outside_graphs(self.guard(self._on_after))

    def install(self) -> None:
        """Register the hooks. They stay for the life of the process."""
        steps = sys.modules["torch.optim.optimizer"]  # torch.optim hides it
        steps.register_optimizer_step_pre_hook(self.before)
        steps.register_optimizer_step_post_hook(self.after)
        listen(self.signals, self.guard, self._scaled_step)
        self.monitor.before_end(self.flush)

    def flush(self) -> None:
        """Hand on what is under way from a device."""
        self.monitor.backwards = self.signals.total_backwards
        for _, watch in list(self._watches.values()):
            self.guard(watch.flush)()

    @torch.no_grad()
    def _on_before(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """Called by PyTorch before each step; returns other arguments for it, or None."""
        depth = getattr(self._nested, "depth", 0)
        self._nested.depth = depth + 1
        if depth or _capturing():  # an optimizer within an optimizer sees the same gradients
            return None
        closure = args[1] if args[1:] else kwargs.get("closure")
        self._watch(optimizer).before(optimizer, has_closure=closure is not None)
        if not callable(closure):
            return None
        told = self._telling(closure)
        if args[1:]:
            return (args[0], told, *args[2:]), kwargs
        return args, {**kwargs, "closure": told}

    def _telling(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(closure)
        def told() -> Any:
            result = closure()
            self.signals.on_closure()
            return result

        return told

    @torch.no_grad()
    def _on_after(self, optimizer: Any, *_: Any) -> None:
        self._nested.depth = max(getattr(self._nested, "depth", 1) - 1, 0)
        if self._nested.depth or _capturing():
            return
        self.monitor.backwards = self.signals.total_backwards
        self._watch(optimizer).after(optimizer)

    def _watch(self, optimizer: Any) -> Watch:
        known = self._watches.get(id(optimizer))
        if known is not None and known[0]() is optimizer:
            return known[1]
        # One optimizer is enough to take the activations of all models.
        outputs = None if self._watches else self._outputs
        watch = Watch(
            len(self._watches), self.monitor, self._report, self.signals, self._models, outputs
        )
        self._watches[id(optimizer)] = (weakref.ref(optimizer), watch)
        return watch

    def _scaled_step(self, optimizer: Any, call: Callable[[], Any]) -> Any:
        known = self._watches.get(id(optimizer))
        before = -1 if known is None else known[1].step
        result = call()
        self.guard(self._note_skip)(optimizer, before)
        return result

    @torch.no_grad()
    def _note_skip(self, optimizer: Any, before: int) -> None:
        known = self._watches.get(id(optimizer))
        if known is None or known[1].step == before:
            self._watch(optimizer).skipped(optimizer)


def _capturing() -> bool:
    """Return whether a CUDA graph is being captured: a copy to the host would break it."""
    return bool(torch.cuda.is_initialized()) and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]


def install(monitor: Monitor) -> Adapter | None:
    """Watch all optimizers of this process; None, with a remark, where PyTorch is too old."""
    steps = sys.modules.get("torch.optim.optimizer")
    if not hasattr(steps, "register_optimizer_step_post_hook"):
        monitor.unmonitored(
            f"PyTorch {torch.__version__} is too old to be watched; {OLDEST} or newer is needed"
        )
        return None
    monitor.framework = f"torch {torch.__version__}"
    adapter = Adapter(monitor)
    adapter.install()
    return adapter

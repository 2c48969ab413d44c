"""Puts the debugger into PyTorch, once, for every optimizer of the process."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch

from orchestrator_runtime.hook.guard import Guard
from orchestrator_runtime.hook.pytorch import sources
from orchestrator_runtime.hook.pytorch.arrays import Arrays
from orchestrator_runtime.hook.pytorch.gauge import Gauge, why_unknown
from orchestrator_runtime.hook.pytorch.graphs import outside_graphs
from orchestrator_runtime.hook.pytorch.names import living_models
from orchestrator_runtime.hook.pytorch.signals import Signals, listen
from orchestrator_runtime.hook.pytorch.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.trace.record import Array, StepRecord

OLDEST = "2.1"


class Adapter:
    """All optimizers of this process, watched from their first step on.

    Args:
        monitor: Gets the steps.
        only: The optimizers that are watched; None for all that there will ever be.

    Attributes:
        models: Those that names are taken from before others; with ``only``, these alone.
    """

    def __init__(self, monitor: Monitor, only: Iterable[Any] | None = None) -> None:
        self.monitor = monitor
        self.guard = Guard()
        # What fails behind the measuring must not keep this process out of the collectives of
        # spread tensors: the others would wait for it.
        self._report = Guard()(self._hand_on)
        self.signals = Signals()
        self.models: list[torch.nn.Module] = []
        self._only = None if only is None else [weakref.ref(optimizer) for optimizer in only]
        self._arrays = Arrays(monitor.patterns, monitor.note)
        self._sources = sources.of(monitor, self._arrays, self.living)
        self._seen = 0
        self._undo: list[Callable[[], None]] = []
        self._watches: dict[int, tuple[Any, Watch]] = {}
        self._nested = threading.local()
        self.before = outside_graphs(self.guard(self._on_before))
        self.after = outside_graphs(self.guard(self._on_after))

    def install(self) -> None:
        """Register the hooks. They stay for the life of the process, or until `remove`."""
        steps = sys.modules["torch.optim.optimizer"]  # torch.optim hides it
        self._undo = [
            steps.register_optimizer_step_pre_hook(self.before).remove,
            steps.register_optimizer_step_post_hook(self.after).remove,
            *listen(self.signals, self.guard, self._scaled_step),
            *(source.close for source in self._sources),
        ]
        self.monitor.before_end(self.flush)
        for remark in map(why_unknown, self.monitor.schedule.names()):
            if remark is not None:
                self.monitor.note(remark)

    def remove(self) -> None:
        """Take everything out of PyTorch again."""
        self.guard.open = False
        while self._undo:
            self._undo.pop()()
        self._watches.clear()
        self.models.clear()

    def after_steps(self, call: Callable[[Any], None]) -> Callable[[], None]:
        """Have something called with the optimizer behind each step; return what ends that.

        It is the user's: what it raises reaches the program.
        """
        steps = sys.modules["torch.optim.optimizer"]
        told = outside_graphs(lambda optimizer, *_: call(optimizer))
        end: Callable[[], None] = steps.register_optimizer_step_post_hook(told).remove
        return end

    def living(self) -> Sequence[torch.nn.Module]:
        """Return the models that parameters and modules may belong to."""
        return self.models if self._only is not None else [*self.models, *living_models()]

    def watches(self, optimizer: Any) -> bool:
        """Return whether an optimizer is one of those that are watched."""
        return self._only is None or any(each() is optimizer for each in self._only)

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
        if (
            depth or _capturing() or not self.watches(optimizer)
        ):  # an optimizer within an optimizer sees the same gradients
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
        if self._nested.depth or _capturing() or not self.watches(optimizer):
            return
        self.monitor.backwards = self.signals.total_backwards
        self._watch(optimizer).after(optimizer)

    def _watch(self, optimizer: Any) -> Watch:
        known = self._watches.get(id(optimizer))
        if known is not None and known[0]() is optimizer:
            return known[1]
        self._forget_dead()
        # One optimizer is enough to take the activations of all models; the first that lives.
        there = () if self._watches else self._sources
        gauge = Gauge(self._arrays, self.monitor.note, records=self.monitor.records)
        watch = Watch(
            self._seen, self.monitor, self._report, self.signals, gauge, self.living, there
        )
        self._seen += 1
        self._watches[id(optimizer)] = (weakref.ref(optimizer), watch)
        return watch

    def _forget_dead(self) -> None:
        """Let go of the parameters of optimizers that are gone."""
        for identity, (reference, watch) in list(self._watches.items()):
            if reference() is None:
                watch.flush()
                del self._watches[identity]

    def _hand_on(self, record: StepRecord, arrays: Sequence[Array]) -> None:
        self.monitor.step(record)
        for array in arrays:
            self.monitor.array(array, record.optimizer)

    def _scaled_step(self, optimizer: Any, call: Callable[[], Any]) -> Any:
        known = self._watches.get(id(optimizer))
        before = -1 if known is None else known[1].step
        result = call()
        self.guard(self._note_skip)(optimizer, before)
        return result

    @torch.no_grad()
    def _note_skip(self, optimizer: Any, before: int) -> None:
        known = self._watches.get(id(optimizer))
        if self.watches(optimizer) and (known is None or known[1].step == before):
            self._watch(optimizer).skipped(optimizer)


def _capturing() -> bool:
    """Return whether a CUDA graph is being captured: a copy to the host would break it."""
    return bool(torch.cuda.is_initialized()) and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]


def install(monitor: Monitor, only: Iterable[Any] | None = None) -> Adapter | None:
    """Watch all optimizers of this process, or some; None, with a remark, in an old PyTorch."""
    steps = sys.modules.get("torch.optim.optimizer")
    if not hasattr(steps, "register_optimizer_step_post_hook"):
        monitor.unmonitored(
            f"PyTorch {torch.__version__} is too old to be watched; {OLDEST} or newer is needed"
        )
        return None
    monitor.framework = f"torch {torch.__version__}"
    adapter = Adapter(monitor, only)
    adapter.install()
    return adapter

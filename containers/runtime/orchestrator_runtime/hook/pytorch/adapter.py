"""Puts the debugger into PyTorch, once, for every optimizer of the process."""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch

from orchestrator_runtime.hook.guard import Guard
from orchestrator_runtime.hook.pytorch import sources
from orchestrator_runtime.hook.pytorch.arrays import Arrays
from orchestrator_runtime.hook.pytorch.entry import entry
from orchestrator_runtime.hook.pytorch.gauge import Gauge, why_unknown
from orchestrator_runtime.hook.pytorch.graphs import (
    capturing,
    outside_graphs,
    whole_graphs_were_made,
)
from orchestrator_runtime.hook.pytorch.names import living_models, remember_what_freezes
from orchestrator_runtime.hook.pytorch.signals import Signals, listen
from orchestrator_runtime.hook.pytorch.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType

    from orchestrator_runtime.hook.monitor import Monitor

MOST_OPTIMIZERS = 64
"""Optimizers that are watched; programs that make one for each task of an inner loop make many."""


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
        self._report = Guard()(monitor.burst)
        self.signals = Signals()
        self.models: list[torch.nn.Module] = []
        self._only = None if only is None else [weakref.ref(optimizer) for optimizer in only]
        self._arrays = Arrays(monitor.patterns, monitor.note)
        self._sources = sources.of(monitor, self._arrays, self.living, self.guard)
        self._undo: list[Callable[[], None]] = []
        self._watches: dict[int, tuple[Any, Watch]] = {}
        self._count = 0
        self._taker: Watch | None = None  # of activations and the like
        self._over: list[Watch] = []
        self._nested = threading.local()
        self._tells_capture = False
        self.before = entry(self._on_before, self.guard)
        self.after = entry(self._on_after, self.guard)
        self._after_scaled = entry(self._note_skip, self.guard)

    def install(self) -> None:
        """Register the hooks. They stay for the life of the process, or until `remove`."""
        steps = sys.modules["torch.optim.optimizer"]  # torch.optim hides it
        self._undo = [
            steps.register_optimizer_step_pre_hook(self.before).remove,
            steps.register_optimizer_step_post_hook(self.after).remove,
            listen(self.signals, self.guard, self._scaled_step),
            *(source.close for source in self._sources),
        ]
        if self._only is None:
            remember_what_freezes()
        self.monitor.before_end(self.flush)
        self.monitor.before_looking(self._look)
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=self.guard(lambda: (forked() or _nothing)()))
        for remark in map(why_unknown, self.monitor.schedule.names()):
            if remark is not None:
                self.monitor.note(remark)

    def remove(self) -> None:
        """Take everything out of PyTorch again."""
        self.guard.open = False
        while self._undo:
            self._undo.pop()()
        self._watches.clear()
        self._taker = None
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
        self.guard(self._flush_those_over)()
        if whole_graphs_were_made():
            self.monitor.note("what is compiled with fullgraph=True is not watched")

    def _look(self) -> None:
        for _, watch in list(self._watches.values()):
            watch.look()

    def _flush_those_over(self) -> None:
        while self._over:
            self._over.pop().flush()

    def _forked(self) -> None:
        """Begin anew: what a child process does is no part of its parent's training."""
        self.signals.forget()
        self.signals.total_backwards = 0
        self._watches.clear()
        self._over.clear()
        self._count = 0
        self._disarm()
        self.monitor.forked()

    def _on_before(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """Called by PyTorch before each step; returns other arguments for it, or None."""
        depth = getattr(self._nested, "depth", 0)
        if depth:  # unless an error ended that other step
            depth = max(min(depth, _steps_on_stack() - 1), 0)
        self._nested.depth = depth + 1
        # An optimizer within an optimizer sees the same gradients.
        if depth or not self.watches(optimizer):
            return None
        if capturing():
            self._tell_of_capture()
            return None
        closure = args[1] if args[1:] else kwargs.get("closure")
        watch = self._watch(optimizer)
        if watch is None:
            return None
        watch.before(optimizer, has_closure=closure is not None)
        if not callable(closure):
            return None
        told = self._telling(
            closure, entry(functools.partial(self._on_closure, watch), self.guard)
        )
        if args[1:]:
            return (args[0], told, *args[2:]), kwargs
        return args, {**kwargs, "closure": told}

    def _tell_of_capture(self) -> None:
        if not self._tells_capture:
            self._tells_capture = True
            self.monitor.unmonitored(
                "an optimizer's step was captured in a CUDA graph: replays of it are not watched"
            )

    @staticmethod
    def _telling(closure: Callable[..., Any], tell: Callable[[], Any]) -> Callable[..., Any]:
        @functools.wraps(closure, updated=())
        def told(*args: Any, **kwargs: Any) -> Any:
            result = closure(*args, **kwargs)
            tell()
            return result

        return told

    def _on_closure(self, watch: Watch) -> None:
        self.signals.on_closure()
        watch.at_closure()

    def _on_after(self, optimizer: Any, *_: Any) -> None:
        self._nested.depth = max(getattr(self._nested, "depth", 1) - 1, 0)
        if self._nested.depth or capturing() or not self.watches(optimizer):
            return
        self.monitor.backwards = self.signals.total_backwards
        watch = self._watch(optimizer)
        if watch is None:
            self.signals.forget()
        else:
            watch.after(optimizer)

    def _watch(self, optimizer: Any) -> Watch | None:
        known = self._watches.get(id(optimizer))
        if known is not None and known[0]() is optimizer:
            return known[1]
        self._flush_those_over()
        if self._count >= MOST_OPTIMIZERS:
            self.monitor.note(f"only the first {MOST_OPTIMIZERS} optimizers are watched")
            return None
        if not self._count:
            self.monitor.is_rank(_rank_in_group())
        watch = Watch(
            self._count,
            self.monitor,
            self._report,
            self.signals,
            Gauge(self._arrays, self.monitor.note, records=self.monitor.records),
            self.living,
            self._free_sources(),
        )
        self._count += 1
        self._taker = self._taker or watch
        identity = id(optimizer)
        forget = self.guard(functools.partial(self._gone, identity, watch))
        gone = weakref.ref(optimizer, forget)
        self._watches[identity] = (gone, watch)
        return watch

    def _free_sources(self) -> Sequence[sources.Source]:
        """Return what one optimizer is enough to take, e.g. the activations of all models."""
        if not self.monitor.records:
            for source in self._sources:
                source.close()
            return ()
        return self._sources if self._taker is None else ()

    def _gone(self, identity: int, watch: Watch, _: Any) -> None:
        """Keep nothing of an optimizer that is no more. Called at any time, within any code."""
        known = self._watches.get(identity)
        if known is not None and known[1] is watch:
            del self._watches[identity]
            self._over.append(watch)
        if watch is self._taker:
            self._disarm()
        watch.let_go()

    def _disarm(self) -> None:
        self._taker = None
        for source in self._sources:
            source.disarm()

    def _scaled_step(self, optimizer: Any, call: Callable[[], Any]) -> Any:
        known = self._watches.get(id(optimizer))
        before = -1 if known is None else known[1].step
        result = call()
        self._after_scaled(optimizer, before)
        return result

    def _note_skip(self, optimizer: Any, before: int) -> None:
        known = self._watches.get(id(optimizer))
        if self.watches(optimizer) and (known is None or known[1].step == before):
            watch = self._watch(optimizer)
            if watch is not None:
                watch.skipped(optimizer)


def _nothing() -> None:
    return None


def _steps_on_stack() -> int:
    """Return how many steps of optimizers are running in this thread, the caller's included."""
    code = torch.optim.Optimizer.profile_hook_step(_rank_in_group).__code__
    count = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        count += frame.f_code is code
        frame = frame.f_back
    return count


def _rank_in_group() -> int | None:
    """Return this process's rank, if the program has made a process group."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return int(distributed.get_rank())


def install(monitor: Monitor, only: Iterable[Any] | None = None) -> Adapter:
    """Watch all optimizers of this process, or some."""
    monitor.framework = f"torch {torch.__version__}"
    adapter = Adapter(monitor, only)
    adapter.install()
    return adapter

"""Trains again and again, each time while another part of the debugger fails; without it, once."""

from __future__ import annotations

import gc
import inspect
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from tests.runtime.debugger.programs.common import DEVICE, Account, data, mlp, say

PARTS = (
    "hook.monitor", "hook.schedule", "rules.engine", "trace.writer", "hook.pytorch.adapter",
    "hook.pytorch.clipping", "hook.pytorch.graphs", "hook.pytorch.measure", "hook.pytorch.names",
    "hook.pytorch.outputs", "hook.pytorch.sample", "hook.pytorch.shards", "hook.pytorch.signals",
    "hook.pytorch.watch", "hook.include", "hook.wishes", "hook.given",
    "hook.pytorch.activations", "hook.pytorch.arrays", "hook.pytorch.batches",
    "hook.pytorch.gauge", "hook.pytorch.hooked", "hook.pytorch.inputs", "hook.pytorch.updates", "hook.pytorch.labels", "hook.pytorch.memory",
    "hook.pytorch.saved", "hook.pytorch.units",
)  # fmt: skip
# What begin_anew needs, what runs when the program is over, and a thread of the debugger's own.
LEFT_OUT = {"Monitor.end", "Monitor.forked", "Monitor._watch", "Adapter._forked"}


def train(kind: str, on_step: Callable[[int], Any] = lambda _: None) -> None:
    """Three optimizers: one with clipping, one with a closure, one with a scaler."""
    model, (x, y) = mlp(), data()
    plain = torch.optim.SGD(model[0].parameters(), 0.1)
    closed = torch.optim.Adam(model[2].parameters(), 0.01)
    scaled = torch.optim.SGD(model[4].parameters(), 0.1)
    scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**127)
    account = Account.of(model)

    def closure() -> Any:
        model.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for step in range(4):
        try:
            on_step(step)
            account.measure(closed.step(closure))
            clip_grad_norm_(model.parameters(), 0.1)
            plain.step()
            model.zero_grad()
            scaler.scale(functional.cross_entropy(model(x), y)).backward()
            scaler.step(scaled)
            scaler.update()
        except KeyboardInterrupt:
            account.more.setdefault("interrupted", []).append(step)
    say(kind, account)


def begin_anew(adapter: Any) -> None:
    """Make the debugger as it was before the first step, and before any fault."""
    if adapter is not None:
        adapter.monitor._over.set()
        adapter.guard.open, adapter.guard._faults = True, 0
        adapter._report = type(adapter.guard)()(adapter.monitor.burst)
        adapter._forked()


def parts() -> Iterator[tuple[str, Any, str]]:
    """Every function of the debugger: a name, what holds it, and how it is called there."""
    for name in PARTS:
        module = sys.modules.get(f"orchestrator_runtime.{name}")
        for key, thing in sorted(vars(module).items()) if module else ():
            if getattr(thing, "__module__", None) != f"orchestrator_runtime.{name}":
                continue
            if inspect.isfunction(thing):
                yield f"{name}.{key}", module, key
            elif inspect.isclass(thing):
                for inner, method in sorted(vars(thing).items()):
                    known = f"{key}.{inner}" not in LEFT_OUT and inner != "__init__"
                    if isinstance(method, FunctionType | staticmethod) and known:
                        yield f"{name}.{key}.{inner}", thing, inner


@contextmanager
def broken(holder: Any, key: str, error: type[BaseException] = RuntimeError) -> Iterator[None]:
    """Put something that raises in the place of a function, wherever it is known."""
    original = inspect.getattr_static(holder, key)

    def raises(*_: Any, **__: Any) -> Any:
        raise error(f"{key} is broken")

    places = [(holder, key)]
    for name, module in list(sys.modules.items()):
        if name.startswith("orchestrator_runtime"):
            known = list(vars(module).items())
            places += [(module, other) for other, thing in known if thing is original]
            tables = [thing for _, thing in known if isinstance(thing, dict)]
            places += [(table, each) for table in tables for each in table if table[each] is original]  # fmt: skip
    for place, name in places:
        put(place, name, staticmethod(raises) if isinstance(original, staticmethod) else raises)
    try:
        yield
    finally:
        for place, name in places:
            put(place, name, original)


def put(place: Any, name: str, thing: Any) -> None:
    if isinstance(place, dict):
        place[name] = thing
    else:
        setattr(place, name, thing)


@contextmanager
def other_plan(monitor: Any, **members: Any) -> Iterator[None]:
    plan = monitor.plan
    monitor.plan = plan._replace(**members)
    yield
    monitor.plan = plan


@contextmanager
def full_disk() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def without_stderr(monitor: Any) -> Iterator[None]:
    stream, sys.stderr = sys.stderr, None
    with broken(type(monitor), "step"):
        yield
    sys.stderr = stream


class Interrupt:
    """Ctrl-C, while the debugger measures the second step."""

    def __init__(self) -> None:
        self.measure = sys.modules["orchestrator_runtime.hook.pytorch.measure"]

    def __call__(self, step: int) -> None:
        if step == 1:
            self.context = broken(self.measure, "l2", KeyboardInterrupt)
            self.context.__enter__()
        if step == 2:
            self.context.__exit__(None, None, None)


def main() -> None:
    train("nothing")
    started = sys.modules.get("orchestrator_runtime.hook.activate")
    if started is None:
        return
    adapter = started._started["torch"]
    gc.freeze()  # so that the debugger's search for models is short
    for name, holder, key in list(parts()):
        begin_anew(adapter)
        with broken(holder, key):
            train(name)
    monitor = adapter.monitor
    others = {
        "no directory": other_plan(monitor, directory="/dev/null/traces"),
        "quota": other_plan(monitor, quota_bytes=2500),
        "full disk": full_disk(),
        "no stderr": without_stderr(monitor),
    }
    for name, context in others.items():
        begin_anew(adapter)
        sys.stderr.write(f"-- {name}\n")
        with context:
            train(name)
    begin_anew(adapter)
    train("interrupt", Interrupt())


if __name__ == "__main__":
    main()

"""What ``watch`` returns: one training under watch, and how it ends."""

from __future__ import annotations

import atexit
import collections
import sys
import weakref
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.hook.monitor import Monitor, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from orchestrator_runtime.hook.plan import DebugPlan
    from orchestrator_runtime.rules.finding import Finding


class TrainingStopped(Exception):
    """A rule of ``stop_on`` has found something.

    Attributes:
        finding: What.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.name or finding.rule}: {finding.message}")
        self.finding = finding


class Watching:
    """One or more optimizers under watch; a context manager. Use it in the thread that trains."""

    def __init__(
        self,
        models: Sequence[Any],
        optimizers: Sequence[Any],
        plan: DebugPlan,
        on_finding: Callable[[Finding], Any] | None,
    ) -> None:
        self._stop_on = {rule.name for rule in plan.rules if rule.stop}
        self._tell = on_finding
        self._found: collections.deque[Finding] = collections.deque()
        self._stopped: Finding | None = None
        self._ends = False
        self._undo: list[Callable[[], None]] = []
        job = _adapter_of_the_job()
        self._mine = job is None
        for optimizer in optimizers:
            if any(each._watches(optimizer) for each in _open):
                raise ValueError(
                    "optimizer must not be watched twice; close() the watch that it has"
                )
        self._adapter: Any = (
            self._of_a_job(job) if job is not None else self._own(plan, optimizers)
        )
        self._monitor: Monitor = self._adapter.monitor
        self._adapter.models.extend(models)
        self._models = list(models)
        self._listen(optimizers)

    @property
    def findings(self) -> list[Finding]:
        """What rules have found so far."""
        return list(self._monitor.findings)

    @property
    def stopped(self) -> Finding | None:
        """The finding that ended the training, None if there was none."""
        return self._stopped

    @property
    def steps(self) -> int:
        """Steps that have been recorded so far, of all optimizers that are watched."""
        return self._monitor.steps

    @property
    def trace_path(self) -> str | None:
        """The trace file; None before the first step, and without a directory."""
        return self._monitor.trace_path

    def close(self) -> None:
        """End the watch: all steps are judged and recorded then, and PyTorch is as it was.

        Raises whatever ``on_finding`` raises of what is found only now; TrainingStopped is not
        raised any more.
        """
        if self not in _open:
            return
        _open.remove(self)
        while self._undo:
            self._undo.pop()()
        atexit.unregister(self.close)
        self._stop_on, self._ends = set(), False
        if self._mine:
            self._monitor.end()
            atexit.unregister(self._monitor.end)
            self._adapter.remove()
        else:
            models = self._adapter.models
            models[:] = [each for each in models if all(each is not mine for mine in self._models)]
        self._models.clear()
        self._hand_on()

    def __enter__(self) -> Watching:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> bool:
        """Close; a training that was stopped has ended as it was asked to."""
        stopped = isinstance(error, TrainingStopped) and error.finding is self._stopped
        if error is not None and not stopped:
            self._tell = None  # what is under way matters more than what is found now
        self.close()
        return stopped

    def _own(self, plan: DebugPlan, optimizers: Sequence[Any]) -> Any:
        from orchestrator_runtime.hook import pytorch  # noqa: PLC0415 -- only when it is there

        monitor = Monitor(plan, self._found.append)
        adapter = pytorch.install(monitor, optimizers)
        if adapter is None:
            atexit.unregister(monitor.end)
            raise RuntimeError("PyTorch is too old to be watched; see the line above")
        return adapter

    def _of_a_job(self, adapter: Any) -> Any:
        say("watch(): the job's own debugger is at work here; its rules and intervals hold")
        self._stop_on = set()
        before = adapter.monitor.on_finding

        def both(finding: Finding) -> None:
            if before is not None:
                before(finding)
            self._found.append(finding)

        def undo() -> None:
            if adapter.monitor.on_finding is both:
                adapter.monitor.on_finding = before

        adapter.monitor.on_finding = both
        self._undo.append(undo)
        return adapter

    def _watches(self, optimizer: Any) -> bool:
        return self._mine and self._adapter.watches(optimizer)

    def _listen(self, optimizers: Sequence[Any]) -> None:
        """Hand findings on behind the steps of these optimizers, outside of all guards."""
        mine = [weakref.ref(optimizer) for optimizer in optimizers]

        def after(optimizer: Any) -> None:
            if (self._found or self._ends) and any(each() is optimizer for each in mine):
                self._hand_on()

        self._undo.append(self._adapter.after_steps(after))
        self._undo.append(self._monitor.hurry())  # a finding is raised by the step that it is of
        _open.append(self)
        atexit.register(self.close)

    def _hand_on(self) -> None:
        while self._found:
            finding = self._found.popleft()
            if self._stopped is None and (finding.name or finding.rule) in self._stop_on:
                self._stopped, self._ends = finding, True
            if self._tell is not None:
                self._tell(finding)
        if self._ends and self._stopped is not None:
            self._ends = False
            raise TrainingStopped(self._stopped)


_open: list[Watching] = []


def _adapter_of_the_job() -> Any:
    """Return what the job has put into PyTorch, None in a program that nobody watches."""
    activate = sys.modules.get("orchestrator_runtime.hook.activate")
    return None if activate is None else activate.adapter_of("torch")

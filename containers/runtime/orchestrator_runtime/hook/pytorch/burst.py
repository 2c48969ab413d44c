"""Gathers steps, and hands them on many at a time.

What is done with many steps at once finds its code and data in the processor's caches, which a
step of training has emptied: that is a third of what a debugger costs a small model.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.sample import Sample
    from orchestrator_runtime.trace.record import Array, StepRecord

    Step = tuple[StepRecord, Sequence[Array]]

MOST_WAITING = 64
"""Steps that may be gathered, or under way from the device, before one is waited for."""
MOST_WITH_ARRAYS = 2
"""Of these, steps with whole tensors."""


class Burst:
    """Samples of one optimizer on their way, oldest first. Two threads may use it.

    Args:
        report: Takes steps that have arrived.
        monitor: Says for how long steps are gathered; longer ones are handed on one by one.
    """

    def __init__(self, report: Callable[[Sequence[Step]], None], monitor: Monitor) -> None:
        self._report = report
        self._monitor = monitor
        self._waiting: deque[Sample] = deque()
        self._with_arrays = 0
        self._last = 0.0
        # Taken again where a signal's handler ends the watch within a step's hand-over: what is
        # found there is what makes a supervisor send one.
        self._lock = threading.RLock()

    def put(self, sample: Sample) -> None:
        """Take a sample; hand on what has arrived, if it is time."""
        with self._lock:
            self._waiting.append(sample)
            self._with_arrays += bool(sample.arrays)
            now = sample.record.time
            since = now - self._last  # below zero where the clock was set back
            if not 0 <= since < self._monitor.gather_seconds or self._is_late():
                self._last = now
                self._hand_on(lambda oldest: oldest.arrived() or self._is_late())

    def look(self) -> None:
        """Hand on what is here. Safe in a thread that does not train.

        A device is not asked: while one thread captures a CUDA graph, the question of another
        one, even after an event from before, makes the capture fail.
        """
        with self._lock:
            self._hand_on(lambda oldest: oldest.is_here())

    def flush(self) -> None:
        """Wait for all, and hand them on."""
        with self._lock:
            self._hand_on(lambda _: True)

    def _hand_on(self, is_ready: Callable[[Sample], bool]) -> None:
        steps = []
        try:
            while self._waiting and is_ready(self._waiting[0]):
                sample = self._waiting.popleft()
                self._with_arrays -= bool(sample.arrays)
                steps.append(_finished(sample))
        finally:  # one that cannot be read must not take the others along
            if steps:
                self._report(steps)

    def _is_late(self) -> bool:
        """Return whether the oldest step must be waited for; whole tensors are large."""
        return len(self._waiting) > MOST_WAITING or self._with_arrays > MOST_WITH_ARRAYS


def _finished(sample: Sample) -> Step:
    record = sample.finish()
    kept = [
        copy
        for copy in sample.arrays
        if not (record.skipped and copy.collection.startswith("gradients"))
    ]
    return record, [copy.finish(record.step) for copy in kept]

"""Tells waiting clients that jobs have changed."""

from __future__ import annotations

import threading


class Changes:
    """One counter for all jobs: waiting is by count, so that no change can be missed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def count(self) -> int:
        """Return the count to wait from; take it before reading what may change."""
        with self._condition:
            return self._count

    def notify(self) -> None:
        """Wake everybody who waits."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, after: int, timeout_seconds: float) -> int:
        """Wait until the count is above ``after`` or the time is over; return the count."""
        with self._condition:
            self._condition.wait_for(lambda: self._count > after, timeout_seconds)
            return self._count

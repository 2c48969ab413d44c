"""Tells waiting clients that jobs have changed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.clock import Clock

T = TypeVar("T")


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

    def wait_for(
        self,
        read: Callable[[], T],
        is_new: Callable[[T], bool],
        *,
        timeout_seconds: float,
        poll_seconds: Callable[[], float],
        clock: Clock,
    ) -> T:
        """Read after each change until it is new or the time is over; return what was read last.

        Args:
            read: Looks at what may have changed.
            is_new: Whether that is what was waited for.
            timeout_seconds: Longest wait.
            poll_seconds: How often to look for a change that another process makes.
            clock: The time.
        """
        deadline = clock.monotonic() + timeout_seconds
        while True:
            count = self.count()
            found = read()
            left = deadline - clock.monotonic()
            if is_new(found) or left <= 0:
                return found
            self.wait(count, min(left, poll_seconds()))

"""Blocking calls beside the event loop, and the event loop's view of changes."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from orchestrator.errors import Unavailable
from orchestrator.service.changes import Changes

P = ParamSpec("P")
T = TypeVar("T")

MIN_RING_SECONDS = 0.002
IDLE_WAIT_SECONDS = 30.0


class Pool:
    """Some threads, and a bound on what may wait for them.

    Args:
        name: Of the threads.
        threads: At most so many calls at once.
        waiting: More calls than these that wait or run are refused.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting = waiting
        self._present = 0

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread and return what it returns.

        Raises:
            Unavailable: Too many calls wait already.
        """
        if self._present >= self._waiting:
            raise Unavailable(
                f"at most {self._waiting} calls may wait at once, that many do; try again shortly"
            )
        self._present += 1
        try:
            call = functools.partial(function, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        finally:
            self._present -= 1

    def close(self) -> None:
        """Let running calls end, drop those that wait."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Bell:
    """Rings in the event loop when jobs have changed; waiting costs no thread.

    Args:
        changes: What is counted.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._rung = asyncio.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def is_closed(self) -> bool:
        """Whether waiting makes no sense any more."""
        return self._closing.is_set()

    def count(self) -> int:
        """Return the count to wait from; take it before reading what may change."""
        return self._changes.count()

    async def wait(self, after: int, timeout_seconds: float) -> bool:
        """Wait for a count above ``after``; return whether it came in time."""
        if self.is_closed() or self._changes.count() > after:
            return True
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(
                target=self._listen, args=(loop, after), name="bell", daemon=True
            )
            self._thread.start()
        rung = self._rung
        try:
            async with asyncio.timeout(timeout_seconds):
                await rung.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Wake everybody for the last time. Call it in the event loop."""
        self._closing.set()
        self._changes.notify()
        self._ring()

    def _listen(self, loop: asyncio.AbstractEventLoop, seen: int) -> None:
        while not self._closing.is_set():
            count = self._changes.wait(seen, IDLE_WAIT_SECONDS)
            if count > seen:
                seen = count
                self._tell(loop)
                self._closing.wait(MIN_RING_SECONDS)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._ring)
        except RuntimeError:  # the loop has ended
            self._closing.set()

    def _ring(self) -> None:
        self._rung.set()
        self._rung = asyncio.Event()

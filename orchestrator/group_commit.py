"""Group commit: the thread that comes first commits for all who wait meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Generic, TypeVar, cast

from orchestrator.errors import OrchestratorError, Unavailable

Request = TypeVar("Request")
Reply = TypeVar("Reply")

MAX_BATCH = 256


@dataclass
class _Waiter(Generic[Request, Reply]):
    request: Request
    wake: Event = field(default_factory=Event)
    leads: bool = False
    done: bool = False
    reply: Reply | None = None
    error: Exception | None = None


class GroupCommit(Generic[Request, Reply]):
    """Runs requests of many threads in as few transactions as the disk allows.

    There is no thread of its own: while one caller's transaction is synced, the others queue;
    the first of them then runs the next transaction for all of them.

    Args:
        run: Commits a batch and returns one reply or exception per request, in order. What it
            raises itself is raised in every caller.
    """

    def __init__(self, run: Callable[[Sequence[Request]], Sequence[Reply | Exception]]) -> None:
        self._run = run
        self._lock = Lock()
        self._queue: list[_Waiter[Request, Reply]] = []
        self._busy = False

    def submit(self, request: Request) -> Reply:
        """Return the reply once its transaction is committed."""
        waiter: _Waiter[Request, Reply] = _Waiter(request)
        with self._lock:
            self._queue.append(waiter)
            waiter.leads = not self._busy
            self._busy = True
        if not waiter.leads:
            self._wait(waiter)
        if not waiter.done:
            self._lead()
        if waiter.error is not None:
            raise waiter.error
        return cast("Reply", waiter.reply)

    def _wait(self, waiter: _Waiter[Request, Reply]) -> None:
        try:
            waiter.wake.wait()
        except BaseException:  # interrupted: nobody will ask for the reply
            with self._lock:
                if waiter in self._queue:
                    self._queue.remove(waiter)
                    if waiter.leads:
                        self._pass_on()
            raise

    def _lead(self) -> None:
        with self._lock:
            batch = self._queue[:MAX_BATCH]
            del self._queue[:MAX_BATCH]
        try:
            replies = self._run([member.request for member in batch])
            for member, reply in zip(batch, replies, strict=True):
                _settle(member, reply)
        except OrchestratorError as error:
            for member in batch:
                _settle(member, error)
        finally:
            with self._lock:
                self._pass_on()
            for member in batch:
                if not member.done:  # the thread that led goes down with its own exception
                    _settle(member, Unavailable("the transaction was interrupted; ask again"))
                member.wake.set()

    def _pass_on(self) -> None:
        """Let the first in the queue lead. The caller has the lock and leads no longer."""
        if self._queue:
            self._queue[0].leads = True
            self._queue[0].wake.set()
        else:
            self._busy = False


def _settle(waiter: _Waiter[Request, Reply], reply: Reply | Exception) -> None:
    if isinstance(reply, Exception):
        waiter.error = reply
    else:
        waiter.reply = reply
    waiter.done = True

"""Group commit: few transactions, an answer for everybody, whatever happens to one of them."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import pytest

from orchestrator.errors import AlreadyExists, StoreError, Unavailable
from orchestrator.group_commit import MAX_BATCH, GroupCommit


class Gate:
    """A transaction that is held open until the test lets it go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)
        self.error: BaseException | None = None

    def run(self, batch: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(batch))
        self.entered.release()
        self.leave.acquire()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return [AlreadyExists(str(n)) if n < 0 else n * 10 for n in batch]


class Caller(threading.Thread):
    """A thread that submits one request and keeps what it got."""

    def __init__(self, group: GroupCommit[int, int], request: int) -> None:
        super().__init__(daemon=True)
        self.group, self.request = group, request
        self.got: int | BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.got = self.group.submit(self.request)
        except BaseException as error:  # noqa: BLE001 - also interrupts
            self.got = error


def queued(group: GroupCommit[int, int], requests: Sequence[int]) -> list[Caller]:
    """Start callers one after the other; return when all of them wait."""
    callers = []
    for request in requests:
        before = len(group._queue)
        callers.append(Caller(group, request))
        while len(group._queue) == before:
            threading.Event().wait(0.001)
    return callers


def joined(callers: Sequence[Caller]) -> list[int | BaseException | None]:
    """Return what each got."""
    for caller in callers:
        caller.join(10)
        assert not caller.is_alive()
    return [caller.got for caller in callers]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_those_who_come_during_a_commit_share_the_next(gate: Gate) -> None:
    group = GroupCommit(gate.run)
    first = Caller(group, 1)
    gate.entered.acquire()
    others = queued(group, [2, 3, 4])
    gate.leave.release(2)
    assert joined([first, *others]) == [10, 20, 30, 40]
    assert gate.batches == [[1], [2, 3, 4]]


def test_each_gets_its_own_error(gate: Gate) -> None:
    group = GroupCommit(gate.run)
    first = Caller(group, 1)
    gate.entered.acquire()
    others = queued(group, [2, -3, 4])
    gate.leave.release(2)
    got = joined([first, *others])
    assert [type(each) for each in got] == [int, int, AlreadyExists, int]


def test_a_failed_commit_fails_all_that_were_in_it_and_no_other(gate: Gate) -> None:
    group = GroupCommit(gate.run)
    first = Caller(group, 1)
    gate.entered.acquire()
    others = queued(group, [2, 3])
    gate.error = StoreError("disk")
    gate.leave.release()
    gate.entered.acquire()
    gate.leave.release()
    got = joined([first, *others])
    assert isinstance(got[0], StoreError)
    assert got[1:] == [20, 30]


def test_a_thread_that_dies_leading_takes_nobody_with_it(gate: Gate) -> None:
    group = GroupCommit(gate.run)
    first = Caller(group, 1)
    gate.entered.acquire()
    others = queued(group, [2, 3])
    gate.leave.release()
    gate.entered.acquire()  # 2 leads for 2 and 3
    late = queued(group, [4])
    gate.error = KeyboardInterrupt()
    gate.leave.release(2)
    got = joined([first, *others, *late])
    assert [type(each) for each in got] == [int, KeyboardInterrupt, Unavailable, int]


def test_a_caller_that_is_interrupted_while_it_waits_is_withdrawn(gate: Gate) -> None:
    group = GroupCommit(gate.run)
    first = Caller(group, 1)
    gate.entered.acquire()
    interrupted, stays = queued(group, [2, 3])
    assert interrupted.ident is not None
    raise_in(interrupted.ident, KeyboardInterrupt)
    group._queue[0].wake.set()  # lets the exception in; nothing was promised by it
    interrupted.join(10)
    gate.leave.release(2)
    assert joined([first, stays]) == [10, 30]
    assert isinstance(interrupted.got, KeyboardInterrupt)
    assert gate.batches == [[1], [3]]


def raise_in(thread: int, error: type[BaseException]) -> None:
    """Raise an exception in another thread at its next step, as a signal does in the first."""
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(error)
    )


def test_a_batch_has_a_limit(gate: Gate) -> None:
    group = GroupCommit(gate.run)
    first = Caller(group, 0)
    gate.entered.acquire()
    others = queued(group, range(1, MAX_BATCH + 2))
    gate.leave.release(3)
    joined([first, *others])
    assert [len(batch) for batch in gate.batches] == [1, MAX_BATCH, 1]

"""Threads beside the event loop, and waiting for changes without one."""

from __future__ import annotations

import asyncio
import threading

import pytest

from orchestrator.api.pools import Bell, Pool
from orchestrator.errors import Unavailable
from orchestrator.service.changes import Changes


def test_a_pool_runs_what_it_may_and_refuses_more() -> None:
    async def scenario() -> None:
        pool = Pool("test", threads=1, waiting=2)
        gate = threading.Event()
        first = asyncio.ensure_future(pool.run(gate.wait))
        second = asyncio.ensure_future(pool.run(lambda: "second"))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="at most 2"):
            await pool.run(lambda: "third")
        gate.set()
        assert await first
        assert await second == "second"
        assert await pool.run(lambda: "later") == "later"
        pool.close()

    asyncio.run(scenario())


def test_an_error_in_a_thread_is_raised_where_it_was_asked() -> None:
    async def scenario() -> None:
        pool = Pool("test", threads=1, waiting=2)
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
        pool.close()

    asyncio.run(scenario())


def test_a_change_wakes_everybody_who_waits() -> None:
    async def scenario() -> None:
        changes = Changes()
        bell = Bell(changes)
        waiting = [asyncio.ensure_future(bell.wait(bell.count(), 30)) for _ in range(50)]
        await asyncio.sleep(0)
        changes.notify()
        assert await asyncio.gather(*waiting) == [True] * 50
        bell.close()

    asyncio.run(scenario())


def test_no_change_is_missed_between_looking_and_waiting() -> None:
    async def scenario() -> None:
        changes = Changes()
        bell = Bell(changes)
        for _ in range(200):
            count = bell.count()
            threading.Thread(target=changes.notify).start()
            assert await bell.wait(count, 30)
        bell.close()

    asyncio.run(scenario())


def test_without_a_change_time_goes_by() -> None:
    async def scenario() -> None:
        bell = Bell(Changes())
        assert not await bell.wait(bell.count(), 0.01)
        bell.close()
        assert bell.is_closed()
        assert await bell.wait(bell.count(), 30)

    asyncio.run(scenario())


def test_closing_wakes_those_who_wait() -> None:
    async def scenario() -> None:
        bell = Bell(Changes())
        waiting = asyncio.ensure_future(bell.wait(bell.count(), 30))
        await asyncio.sleep(0.01)
        bell.close()
        assert await waiting

    asyncio.run(scenario())

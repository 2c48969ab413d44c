"""Requests that are answered together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from orchestrator.api.batch import Batches
from orchestrator.api.pools import Pool
from orchestrator.errors import NotFound, Unavailable


def test_what_comes_while_a_batch_is_worked_on_is_the_next_batch() -> None:
    began, gate = threading.Event(), threading.Event()
    seen: list[list[int]] = []

    def work(batch: Sequence[int]) -> list[int]:
        seen.append(list(batch))
        began.set()
        gate.wait(30)
        return [number * 2 for number in batch]

    async def scenario() -> list[int]:
        pool = Pool("test", 1, 2)
        batches: Batches[int, int] = Batches(pool, work, 100)
        first = asyncio.ensure_future(batches.add(0))
        await asyncio.to_thread(began.wait, 30)
        rest = [asyncio.ensure_future(batches.add(number)) for number in range(1, 20)]
        await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(first, *rest)
        pool.close()
        return answers

    assert asyncio.run(scenario()) == [number * 2 for number in range(20)]
    assert seen == [[0], list(range(1, 20))]


def test_each_request_has_its_own_answer_or_error() -> None:
    def work(batch: Sequence[int]) -> list[int | Exception]:
        return [NotFound(f"no {number}") if number % 2 else number for number in batch]

    async def scenario() -> list[int | BaseException]:
        pool = Pool("test", 1, 2)
        batches: Batches[int, int] = Batches(pool, work, 100)
        answers = await asyncio.gather(
            *(batches.add(number) for number in range(4)), return_exceptions=True
        )
        pool.close()
        return answers

    answers = asyncio.run(scenario())
    assert answers[0::2] == [0, 2]
    assert [str(answer) for answer in answers[1::2]] == ["no 1", "no 3"]


def test_what_breaks_a_batch_is_told_to_all_of_it_and_the_next_one_goes_on() -> None:
    calls = []

    def work(batch: Sequence[int]) -> list[int]:
        calls.append(batch)
        if len(calls) == 1:
            raise Unavailable("locked")
        return list(batch)

    async def scenario() -> None:
        pool = Pool("test", 1, 2)
        batches: Batches[int, int] = Batches(pool, work, 100)
        with pytest.raises(Unavailable, match="locked"):
            await batches.add(1)
        assert await batches.add(2) == 2
        pool.close()

    asyncio.run(scenario())


def test_too_many_are_told_to_try_again_and_who_leaves_is_no_trouble() -> None:
    gate = threading.Event()

    def work(batch: Sequence[int]) -> list[int]:
        gate.wait(30)
        return list(batch)

    async def scenario() -> None:
        pool = Pool("test", 1, 2)
        batches: Batches[int, int] = Batches(pool, work, 2)
        running = asyncio.ensure_future(batches.add(0))
        await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(batches.add(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="at most 2"):
            await batches.add(3)
        waiting[0].cancel()
        gate.set()
        assert await running == 0
        assert await waiting[1] == 2
        pool.close()

    asyncio.run(scenario())

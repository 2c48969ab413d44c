"""Calls that are made together: while one batch is worked on, the next one gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from orchestrator.api.pools import Pool
from orchestrator.errors import Unavailable

Request = TypeVar("Request")
Answer = TypeVar("Answer")

MAX_BATCH = 256


class Batches(Generic[Request, Answer]):
    """Gives the requests of many clients to one thread, many at a time.

    A thread for each of them would cost more than the work: with 32 clients, switching between
    threads takes half of the time.

    Args:
        pool: Its thread is used.
        work: Answers a batch, in order; an exception is one request's answer.
        waiting: More requests than these that wait are refused.
    """

    def __init__(
        self,
        pool: Pool,
        work: Callable[[Sequence[Request]], Sequence[Answer | Exception]],
        waiting: int,
    ) -> None:
        self._pool = pool
        self._work = work
        self._most = waiting
        self._waiting: list[tuple[Request, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, request: Request) -> Answer:
        """Return the answer to a request.

        Raises:
            Unavailable: Too many wait already.
        """
        if len(self._waiting) >= self._most:
            raise Unavailable(
                f"at most {self._most} requests may wait at once, that many do; try again shortly"
            )
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            batch = self._waiting[:MAX_BATCH]
            del self._waiting[:MAX_BATCH]
            answers: Sequence[Answer | Exception]
            try:
                answers = await self._pool.run(self._work, [request for request, _ in batch])
            except Exception as error:  # noqa: BLE001  # raised in every caller
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue  # the client has left
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        self._task = None

"""Threads for what blocks; a call that has begun always ends before its caller goes on."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16


class Threads:
    """Some threads.

    Args:
        count: How many calls run at once; the others wait.
    """

    def __init__(self, count: int = THREADS) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="s3")

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call returns.

        A request that is dropped meanwhile still waits for it: the file that it writes to must
        not be closed under its hands.
        """
        call = functools.partial(function, *args, **kwargs)
        future = asyncio.get_running_loop().run_in_executor(self._executor, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    def close(self) -> None:
        """Let running calls end."""
        self._executor.shutdown(wait=True)

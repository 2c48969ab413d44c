"""The web server that runs the application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from orchestrator.api.app import App
from orchestrator.api.listen import BACKLOG

SHUTDOWN_SECONDS = 5
TICK_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 75


class WebServer(uvicorn.Server):
    """Serves the application; wakes all who wait when it ends, so that they get an answer."""

    def __init__(self, app: App) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
        )
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()
        self.on_ready: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self.on_ready()

    async def main_loop(self) -> None:
        """Look at the clock once a second instead of ten times: an idle server rests."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._ending.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End because of a signal; a second SIGINT ends at once."""
        super().handle_exit(sig, frame)
        self.end()

    def end(self) -> None:
        """End soon; from any thread."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # it has just closed
                self._loop.call_soon_threadsafe(self._ending.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what waits, then end."""
        self._app.context.close()
        await super().shutdown(sockets)

"""Sending to clients that may have stopped reading."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Send

from orchestrator.api.errors import SlowClient


class PatientSend:
    """Sends parts of a body; gives up on a client that takes nothing for some time.

    Args:
        send: The server's.
        seconds: How long is waited.
    """

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds

    async def __call__(self, message: Message) -> None:
        """Send one message.

        Raises:
            SlowClient: It was not taken in time.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except TimeoutError:
            raise SlowClient from None


def part(block: bytes | bytearray, *, more: bool = True) -> Message:
    """Return the message with a part of a body; the last one says that no more follows."""
    return {"type": "http.response.body", "body": block, "more_body": more}

"""How far the body of a request was read, for answers that come before its end."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Message

MOST_DRAINED_BYTES = 16 * 1024 * 1024


class Reading:
    """Hands on what a request receives, and keeps count.

    Args:
        request: Whose body it is.
    """

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        headers = request.headers
        self._waits = headers.get("expect", "").lower() == "100-continue"
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._is_over = not has_body

    async def __call__(self) -> Message:
        """Receive the next message."""
        message = await self._receive()
        self._waits = False  # who waited was told to go on
        self._is_over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drain(self) -> bool:
        """Read what is left, so that the client gets the answer and can ask again.

        Returns:
            Whether the connection can be used again: not when the client waits to send a body
            that nobody wants, or has very much of it.
        """
        drained = 0
        while not self._is_over:
            if self._waits or drained > MOST_DRAINED_BYTES:
                return False
            drained += len((await self()).get("body", b""))
        return True

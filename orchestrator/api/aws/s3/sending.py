"""Answers that are objects, sent a block at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.api.aws.s3.conditions import Span
from orchestrator.api.aws.s3.threads import Threads
from orchestrator.api.sending import PatientSend, part

BLOCK_BYTES = 256 * 1024
SLOW_CLIENT_SECONDS = 60.0


class ObjectAnswer(Response):
    """An answer that is a file, or a part of one; closes it at the end.

    Args:
        stream: The open file.
        span: Which bytes of it.
        status: 200 or 206.
        headers: Of the answer.
        threads: Where the file is read.
    """

    def __init__(
        self,
        stream: BinaryIO,
        span: Span,
        status: int,
        headers: Mapping[str, str],
        threads: Threads,
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self._stream = stream
        self._span = span
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; a client that takes nothing for some time is dropped."""
        del scope, receive
        patient = PatientSend(send, SLOW_CLIENT_SECONDS)
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        left = self._span.end - self._span.start
        try:
            await patient(start)
            if not left:
                await patient(part(b"", more=False))
            while left:
                block = bytearray(min(left, BLOCK_BYTES))
                await self._threads.run(self._read_into, block, self._span.end - left)
                left -= len(block)
                await patient(part(block, more=left > 0))
        finally:
            self._stream.close()

    def _read_into(self, block: bytearray, offset: int) -> None:
        self._stream.seek(offset)
        if self._stream.readinto(block) != len(block):  # type: ignore[attr-defined]
            raise EOFError("a stored object must have all its bytes")

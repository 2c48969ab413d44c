"""Files for clients, streamed: read in threads, a block at a time, as fast as the client takes it."""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from orchestrator.api.context import Context
from orchestrator.api.sending import PatientSend, part
from orchestrator.blobs.base import BlobStore, ObjectInfo
from orchestrator.errors import InputError, NotFound
from orchestrator.metrics.export import export_points
from orchestrator.metrics.points import MetricPoint

BLOCK_BYTES = 256 << 10
GZIP = "application/gzip"
TAR = "application/x-tar"
TAR_BLOCK = tarfile.BLOCKSIZE
FIXED_TIME = 946_684_800  # as in every archive of ours: equal content gives equal bytes


class Download(Response):
    """An answer that is a file. Made by ``prepare``."""

    @classmethod
    async def prepare(
        cls,
        context: Context,
        blocks: Iterator[bytes],
        *,
        media_type: str,
        filename: str,
        size_bytes: int | None = None,
    ) -> Self:
        """Read the first block, so that what fails at once is answered as an error.

        Args:
            context: Its threads are used.
            blocks: A generator; closed at the end.
            media_type: What it is.
            filename: Suggested to the client.
            size_bytes: Of the whole, where it is known.
        """
        first = await context.files.run(next, blocks, b"")
        answer = cls(headers=_named(filename), media_type=media_type)
        del answer.headers["content-length"]
        if size_bytes is not None:
            answer.headers["content-length"] = str(size_bytes)
        answer._context, answer._first, answer._blocks = context, first, blocks
        return answer

    _context: Context
    _first: bytes
    _blocks: Iterator[bytes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; a client that takes nothing for some time is dropped."""
        del scope, receive
        patient = PatientSend(send, self._context.limits.slow_client_seconds)
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        try:
            await patient(start)
            block = self._first
            while block:
                await patient(part(block))
                block = await self._context.files.run(next, self._blocks, b"")
            await patient(part(b"", more=False))
        finally:
            close = getattr(self._blocks, "close", None)
            if close is not None:
                await asyncio.shield(self._context.files.run(close))


class FileDownload(FileResponse):
    """An answer that is a file of this machine; parts of it can be asked for (RFC 9110, 14).

    Args:
        context: Says how long a client may take nothing.
        path: The file.
        media_type: What it is.
    """

    chunk_size = BLOCK_BYTES

    def __init__(self, context: Context, path: Path, media_type: str) -> None:
        super().__init__(path, media_type=media_type, headers=_named(path.name))
        self._slow_client_seconds = context.limits.slow_client_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; a client that takes nothing for some time is dropped."""
        await super().__call__(scope, receive, PatientSend(send, self._slow_client_seconds))


@dataclass(frozen=True)
class Stored:
    """What is at a location: one file, or several that are sent as one tar."""

    name: str
    media_type: str
    blocks: Iterator[bytes]
    size_bytes: int | None
    path: Path | None = None
    """The file, where it is one of this machine."""


def _named(filename: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(filename)}"}


def open_location(blobs: BlobStore, uri: str) -> Stored:
    """Open what is at a location.

    Raises:
        NotFound: Nothing is there any more.
    """
    name = uri.rstrip("/").rpartition("/")[2]
    single = blobs.stat(uri)
    if single is not None:
        stream = blobs.open(uri)
        path = _local_path(stream)
        if path is not None:
            stream.close()
        return Stored(name, GZIP, _blocks_of(stream), single.size, path)
    files = list(blobs.list(uri))
    if not files:
        raise NotFound(f"nothing is at {uri!r} any more; somebody has removed it")
    return Stored(f"{name}.tar", TAR, tar_blocks(blobs, files), None)


def _local_path(stream: BinaryIO) -> Path | None:
    raw = getattr(stream, "raw", None)
    return Path(raw.name) if isinstance(raw, io.FileIO) else None


def tar_blocks(blobs: BlobStore, files: Iterable[ObjectInfo]) -> Iterator[bytes]:
    """Give a tar of files, without ever having more than a block of it.

    Raises:
        InputError: A file is shorter or longer than it was listed.
    """
    for found in files:
        member = tarfile.TarInfo(found.key)
        member.size, member.mode, member.mtime = found.size, 0o644, FIXED_TIME
        yield member.tobuf(tarfile.PAX_FORMAT)
        left = found.size
        for block in _blocks_of(blobs.open(found.uri)):
            left -= len(block)
            if left < 0:
                break
            yield block
        if left:
            raise InputError(f"{found.uri} must not change while it is read, it did; try again")
        yield b"\0" * (-found.size % TAR_BLOCK)
    yield b"\0" * (2 * TAR_BLOCK)


def export_blocks(
    points: Iterable[MetricPoint], file_format: str, context: Context
) -> Iterator[bytes]:
    """Write points to a temporary file and give its bytes; several files are given as one tar."""
    with tempfile.TemporaryDirectory(dir=context.spool, prefix="export-") as directory:
        path = Path(directory) / "points"
        export_points(points, path, file_format)
        if path.is_dir():
            blobs = context.service.blobs
            yield from tar_blocks(blobs, blobs.list(str(path)))
        else:
            yield from _blocks_of(path.open("rb"))


def _blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while block := stream.read(BLOCK_BYTES):
            yield block

"""Bodies of requests: on to the disk a block at a time, and checked against all they claim."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import ClientDisconnect, Request

from orchestrator.api.aws.caller import (
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    Caller,
)
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.s3 import checksums
from orchestrator.api.aws.s3.chunked import ChunkedDecoder
from orchestrator.api.aws.s3.threads import Threads

BLOCK_BYTES = 512 * 1024
"""What goes to a thread at a time."""
INLINE_BYTES = 64 * 1024
"""What is left of a body and has no more bytes than these waits for the call that ends it."""
MAX_OBJECT_BYTES = 5 * 1024**3
"""Of one request, as on AWS."""
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
STREAMING = {STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER}


class Writer(Protocol):
    """What takes the bytes, and knows then what they were."""

    size: int

    @property
    def sha256(self) -> str:
        """Of all bytes so far."""

    @property
    def etag(self) -> str:
        """MD5 of all bytes so far."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a request says of its body."""

    size: int
    """Bytes without the framing of chunks."""
    is_chunked: bool
    md5: bytes | None
    algorithm: str | None
    """Of the checksum to verify or compute; None = no checksum."""
    checksum: str | None
    """Its value; None = in a trailing header, or not given."""
    trailer: str | None
    """Name of the trailing header with the value."""


def read_claims(headers: Mapping[str, str], caller: Caller, *, has_checksum: bool) -> Claims:
    """Return what a request says of its body.

    Raises:
        AwsError: MissingContentLength, EntityTooLarge, InvalidDigest, InvalidRequest or
            NotImplemented.
    """
    is_chunked = caller.payload in STREAMING
    size = _size(headers, is_chunked=is_chunked)
    if not has_checksum:
        return Claims(size, is_chunked, _md5(headers), None, None, None)
    trailer = headers.get("x-amz-trailer")
    algorithm, value = _checksum(headers)
    if trailer and algorithm is None:
        if not trailer.lower().startswith(checksums.HEADER):
            raise AwsError(
                "InvalidRequest",
                "The value specified in the x-amz-trailer header is not supported",
            )
        algorithm = trailer.lower().removeprefix(checksums.HEADER).upper()
    if algorithm is None:
        algorithm = headers.get("x-amz-sdk-checksum-algorithm")
    if algorithm is not None:
        checksums.make(algorithm)  # refused before the body is read
    return Claims(size, is_chunked, _md5(headers), algorithm, value, trailer)


def _size(headers: Mapping[str, str], *, is_chunked: bool) -> int:
    text = headers.get("x-amz-decoded-content-length" if is_chunked else "content-length", "")
    if not text.isascii() or not text.isdigit():
        raise AwsError(
            "MissingContentLength", "You must provide the Content-Length HTTP header.", 411
        )
    if len(text) > 15 or int(text) > MAX_OBJECT_BYTES:
        raise AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    return int(text)


def _checksum(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    given = [
        (name.removeprefix(checksums.HEADER).upper(), value)
        for name, value in headers.items()
        if name.startswith(checksums.HEADER)
        and name.removeprefix(checksums.HEADER) not in {"algorithm", "type", "mode"}
    ]
    if len(given) > 1:
        raise AwsError(
            "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types "
            "are not allowed."
        )  # fmt: skip
    return given[0] if given else (None, None)


def _md5(headers: Mapping[str, str]) -> bytes | None:
    text = headers.get("content-md5")
    if text is None:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise AwsError("InvalidDigest", "The Content-MD5 you specified is not valid.")
    return digest


class Intake:
    """Moves one body into a writer.

    Args:
        request: Whose body it is.
        caller: Who signed it.
        threads: Where hashing and writing are done.
        has_checksum: A checksum in the headers is of this body.
    """

    def __init__(
        self, request: Request, caller: Caller, threads: Threads, *, has_checksum: bool = True
    ) -> None:
        self.claims = read_claims(request.headers, caller, has_checksum=has_checksum)
        self._request = request
        self._caller = caller
        self._threads = threads
        algorithm = self.claims.algorithm
        self._checksum = None if algorithm is None else checksums.make(algorithm)
        self._decoder = (
            ChunkedDecoder(
                caller.chunks, signed_trailer=caller.payload == STREAMING_SIGNED_TRAILER
            )
            if self.claims.is_chunked
            else None
        )

    @property
    def observers(self) -> tuple[checksums.Checksum, ...]:
        """What the writer must show the bytes to."""
        return () if self._checksum is None else (self._checksum,)

    async def into(self, writer: Writer) -> None:
        """Read the whole body.

        Raises:
            AwsError: IncompleteBody, or what a chunk is refused for.
        """
        block = bytearray(min(self.claims.size, BLOCK_BYTES))  # the same one again and again
        used = 0
        try:
            async for data in self._request.stream():
                if used + len(data) > len(block):
                    await self._threads.run(self._write, writer, memoryview(block)[:used])
                    used = 0
                if len(data) > len(block):
                    await self._threads.run(self._write, writer, data)
                    continue
                block[used : used + len(data)] = data
                used += len(data)
        except ClientDisconnect:
            raise _incomplete() from None
        if used > INLINE_BYTES:
            await self._threads.run(self._write, writer, memoryview(block)[:used])
            used = 0
        self._last = memoryview(block)[:used]

    _last: bytes | memoryview = b""

    def _write(self, writer: Writer, data: bytes | memoryview) -> None:
        if self._decoder is not None:
            data = self._decoder.feed(data)
        if writer.size + len(data) > self.claims.size:
            raise _incomplete()
        writer.write(data)

    def finish(self, writer: Writer) -> dict[str, str]:
        """Write what is left and check the body against its claims; return its checksum, if any.

        Raises:
            AwsError: IncompleteBody, BadDigest, XAmzContentSHA256Mismatch or InvalidRequest.
            LimitExceeded: No space is left.
        """
        self._write(writer, self._last)
        if self._decoder is not None:
            self._decoder.end()
        if writer.size != self.claims.size:
            raise _incomplete()
        claimed = self._caller.payload
        if claimed != UNSIGNED_PAYLOAD and not self.claims.is_chunked and claimed != writer.sha256:
            raise AwsError(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )
        if self.claims.md5 is not None and self.claims.md5.hex() != writer.etag:
            raise AwsError(
                "BadDigest", "The Content-MD5 you specified did not match what we received."
            )
        return self._check_sum()

    def _check_sum(self) -> dict[str, str]:
        claims = self.claims
        if self._checksum is None or claims.algorithm is None:
            return {}
        value = checksums.encoded(self._checksum.digest())
        wanted = claims.checksum
        if claims.trailer is not None and self._decoder is not None:
            wanted = self._decoder.trailers.get(claims.trailer.lower())
            if wanted is None:
                raise AwsError("MalformedTrailerError", "The request has no trailing checksum")
        if wanted is not None and wanted != value:
            raise AwsError(
                "BadDigest",
                f"The {claims.algorithm.upper()} you specified did not match the calculated checksum.",
            )
        return {claims.algorithm.upper(): value}


class Document:
    """A short body that is kept in memory: the XML of a request."""

    def __init__(self, also: Sequence[checksums.Checksum] = ()) -> None:
        self._also = also
        self.data = bytearray()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            AwsError: EntityTooLarge.
        """
        for observer in self._also:
            observer.update(data)
        self.data += data
        self.size += len(data)
        if self.size > MAX_DOCUMENT_BYTES:
            raise AwsError(
                "EntityTooLarge", f"the document may have at most {MAX_DOCUMENT_BYTES:,} bytes"
            )

    @property
    def sha256(self) -> str:
        """Of all bytes so far."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def etag(self) -> str:
        """MD5 of all bytes so far."""
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()


async def read_document(
    request: Request, caller: Caller, threads: Threads, *, has_checksum: bool
) -> bytes:
    """Return a short body, checked against its claims.

    Args:
        request: Whose body it is.
        caller: Who signed it.
        threads: For long ones.
        has_checksum: A checksum in the headers is of this body, not of an object.

    Raises:
        AwsError: As those of ``Intake``.
    """
    if not request.headers.get("content-length") and "transfer-encoding" not in request.headers:
        return b""
    intake = Intake(request, caller, threads, has_checksum=has_checksum)
    document = Document(intake.observers)
    await intake.into(document)
    intake.finish(document)
    return bytes(document.data)


def _incomplete() -> AwsError:
    return AwsError(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )

"""Reading a body: whole, bounded, and as it was before the client packed it."""

from __future__ import annotations

import zlib

from starlette.requests import Request

from orchestrator.api.aws.errors import AwsError, request_too_large, serialization_error

MOST_BYTES = 10_000_000
_GZIP = 16 + zlib.MAX_WBITS


async def read_body(request: Request) -> bytes:
    """Return a body.

    Raises:
        AwsError: It is larger than any legal one.
    """
    length = request.headers.get("content-length", "0")
    is_number = length.isascii() and length.isdigit() and len(length) <= 18
    if not is_number or int(length) > MOST_BYTES:
        raise request_too_large(MOST_BYTES)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise request_too_large(MOST_BYTES)
        parts.append(part)
    return b"".join(parts)


def unpacked(body: bytes, encoding: str | None) -> bytes:
    """Return what a client has packed; boto3 does so with a PutMetricData above 10 kB.

    Args:
        body: As sent, and as signed.
        encoding: Value of ``Content-Encoding``.

    Raises:
        AwsError: It is packed in another way, is broken, or unpacks to more than may be sent.
    """
    if encoding is None or encoding.lower() in {"", "identity"}:
        return body
    if encoding.lower() != "gzip":
        raise AwsError("UnsupportedMediaTypeException", "Content-Encoding must be gzip", 415)
    packed = zlib.decompressobj(_GZIP)
    try:
        plain = packed.decompress(body, MOST_BYTES)
    except zlib.error as error:
        raise serialization_error("the request body is not gzip") from error
    if packed.unconsumed_tail:
        raise request_too_large(MOST_BYTES)
    if not packed.eof:
        raise serialization_error("the request body is not gzip")
    return plain

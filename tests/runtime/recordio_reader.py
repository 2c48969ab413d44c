"""Reads RecordIO as dmlc-core's own reader does; written apart from the writer that is tested with it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO


def records(data: bytes) -> Iterator[bytes]:
    """Yield every record of a stream, which must have nothing else in it."""
    stream, parts = BytesIO(data), b""
    expected = {0, 1}
    while header := stream.read(8):
        magic, word = struct.unpack("<II", header)
        assert magic == 0xCED7230A, hex(magic)
        flag, length = word >> 29, word & 0x1FFFFFFF
        assert flag in expected, (flag, expected)
        body = stream.read(length)
        assert len(body) == length
        assert stream.read(-length % 4) == bytes(-length % 4)
        parts += body
        if flag in {0, 3}:
            yield parts
            parts, expected = b"", {0, 1}
        else:
            parts, expected = parts + header[:4], {2, 3}
    assert expected == {0, 1}, "the last record is not complete"

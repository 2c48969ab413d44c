"""Pictures of few colours as PNG; pure."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

Colour = tuple[int, int, int]
_INDEXED = 3
MOST_COLOURS = 256


def indexed_png(rows: Sequence[bytes], colours: Sequence[Colour], *, clear: int = 0) -> bytes:
    """Return a picture, a byte for each of its points.

    Args:
        rows: Indices into the colours, all rows of the same length.
        colours: At most 256.
        clear: How many colours at the beginning are transparent.

    Raises:
        ValueError: There is no point, rows differ in length, or there are too many colours.
    """
    width = len(rows[0]) if rows else 0
    if not width or any(len(row) != width for row in rows):
        raise ValueError(f"a picture needs rows of one length, got {len(rows)} rows")
    if not 0 < len(colours) <= MOST_COLOURS:
        raise ValueError(f"a picture has 1 to {MOST_COLOURS} colours, got {len(colours)}")
    header = struct.pack(">IIBBBBB", width, len(rows), 8, _INDEXED, 0, 0, 0)
    points = b"".join(b"\0" + row for row in rows)  # 0: rows are not filtered
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", b"".join(bytes(colour) for colour in colours)),
            _chunk(b"tRNS", bytes(clear)) if clear else b"",
            _chunk(b"IDAT", zlib.compress(points, 9)),
            _chunk(b"IEND", b""),
        )
    )


def data_uri(png: bytes) -> str:
    """Return a picture as an address that contains it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

"""Pictures that are read back."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.png import data_uri, indexed_png

COLOURS = [(0, 0, 0), (255, 0, 0), (1, 2, 3)]


def chunks(png: bytes) -> dict[bytes, bytes]:
    """Chunks by kind; checks signature and checksums."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    found, offset = {}, 8
    while offset < len(png):
        (size,) = struct.unpack_from(">I", png, offset)
        kind, data = png[offset + 4 : offset + 8], png[offset + 8 : offset + 8 + size]
        (checksum,) = struct.unpack_from(">I", png, offset + 8 + size)
        assert checksum == zlib.crc32(kind + data)
        found[kind] = data
        offset += 12 + size
    return found


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.lists(st.binary(min_size=n, max_size=n), min_size=1, max_size=20)
    )
)
def test_every_point_comes_back(rows):
    rows = [bytes(point % len(COLOURS) for point in row) for row in rows]
    parts = chunks(indexed_png(rows, COLOURS, clear=1))
    width, height, depth, kind = struct.unpack_from(">IIBB", parts[b"IHDR"])
    assert (width, height, depth, kind) == (len(rows[0]), len(rows), 8, 3)
    points = zlib.decompress(parts[b"IDAT"])
    lines = [points[n * (width + 1) :][: width + 1] for n in range(height)]
    assert lines == [b"\0" + row for row in rows]
    assert parts[b"PLTE"] == b"\0\0\0\xff\0\0\1\2\3"
    assert parts[b"tRNS"] == b"\0"
    assert list(parts)[-1] == b"IEND"


def test_an_address_contains_the_picture():
    png = indexed_png([b"\0"], COLOURS)
    assert base64.b64decode(data_uri(png).removeprefix("data:image/png;base64,")) == png


@pytest.mark.parametrize(
    ("rows", "colours", "message"),
    [
        ([], COLOURS, "rows"),
        ([b""], COLOURS, "rows"),
        ([b"a", b"ab"], COLOURS, "rows"),
        ([b"\0"], [], "colours"),
        ([b"\0"], COLOURS * 99, "colours"),
    ],
)
def test_what_is_no_picture_is_refused(rows, colours, message):
    with pytest.raises(ValueError, match=message):
        indexed_png(rows, colours)

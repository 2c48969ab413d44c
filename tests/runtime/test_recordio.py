"""RecordIO as dmlc-core writes it: what is read back is what was written, however it comes in."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from orchestrator_runtime import recordio
from orchestrator_runtime.recordio import MAGIC, frame

from tests.runtime.recordio_reader import records

PIECES = st.lists(st.sampled_from([MAGIC, MAGIC[:1], MAGIC[1:], b"a", b"abcd", b"\0" * 7]))


def header(flag: int, length: int) -> bytes:
    return struct.pack("<II", 0xCED7230A, flag << 29 | length)


def framed(*chunks: bytes) -> bytes:
    return b"".join(frame(lambda: chunks))


def cut(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    return [*chunks, data]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", header(0, 0)),
        (b"a", header(0, 1) + b"a\0\0\0"),
        (b"abcd", header(0, 4) + b"abcd"),
        (MAGIC, header(1, 0) + header(3, 0)),
        (b"abcd" + MAGIC, header(1, 4) + b"abcd" + header(3, 0)),
        (
            MAGIC + b"abcd" + MAGIC + b"ef",
            header(1, 0) + header(2, 4) + b"abcd" + header(3, 2) + b"ef\0\0",
        ),
        # Only at a multiple of 4 would a reader that looks for the next record find it.
        (b"a" + MAGIC, header(0, 5) + b"a" + MAGIC + b"\0\0\0"),
    ],
)
def test_the_bytes_are_those_of_the_format(data: bytes, expected: bytes):
    assert framed(data) == expected


@given(st.lists(st.one_of(st.binary(max_size=60), PIECES.map(b"".join)), max_size=5))
@example([MAGIC * 3])
def test_what_is_read_is_what_was_written(payloads: list[bytes]):
    assert list(records(b"".join(map(framed, payloads)))) == payloads


@given(PIECES.map(b"".join), st.lists(st.integers(0, 9), max_size=12))
def test_how_the_bytes_come_in_does_not_matter(data: bytes, sizes: list[int]):
    assert framed(*cut(data, sizes)) == framed(data)


@given(PIECES.map(b"".join))
def test_the_magic_is_at_a_multiple_of_4_only_where_a_part_begins(data: bytes):
    written = framed(data)
    marks = [at for at in range(0, len(written), 4) if written[at : at + 4] == MAGIC]
    at, begins = 0, []
    while at < len(written):
        begins.append(at)
        length = struct.unpack_from("<I", written, at + 4)[0] & 0x1FFFFFFF
        at += 8 + length + -length % 4
    assert marks == begins


def test_a_record_that_its_length_cannot_say_is_refused():
    chunk = bytes(1 << 20)
    with pytest.raises(recordio.TooLong):
        next(frame(lambda: (chunk for _ in range(512))))


def test_a_record_that_shrinks_while_it_is_read_is_noticed():
    readings = iter([[b"abcdef"], [b"abc"]])
    with pytest.raises(ValueError, match="became shorter"):
        list(frame(lambda: next(readings)))

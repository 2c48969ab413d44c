"""Reading whole lines of growing files in blocks, and when they arrived."""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

BLOCK_BYTES = 1024 * 1024
_TIME = struct.Struct("<QQ")  # byte offset in the log, microseconds since the epoch


class Block(NamedTuple):
    """Whole lines, or nothing where the inside of a very long line was passed over."""

    offset: int
    data: bytes
    next_offset: int
    """Where to go on."""
    newlines: int
    """How many lines end in it, passed over or not."""


def whole_lines(
    path: Path,
    offset: int,
    *,
    separators: bytes,
    finished: bool,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Block]:
    """Give what a file holds from an offset on, in blocks that end where a line ends.

    The lines do not depend on where the blocks are cut, nor on how often reading was interrupted:
    of a line longer than a block only its beginning is given, and an offset inside a line leads
    to the next line. A missing file is empty.

    Args:
        path: The file.
        offset: 0, or where an earlier call ended.
        separators: The bytes that end a line.
        finished: Nothing will follow: a last line that has no end is given too.
        block_bytes: The size of a block.
    """
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    with file:
        size = file.seek(0, os.SEEK_END)
        inside = offset > 0 and _read(file, offset - 1, 1) not in separators
        while offset < size:
            data = _read(file, offset, min(block_bytes, size - offset))
            at_end = offset + len(data) >= size
            end = _end_of_lines(data, separators, first=inside)
            if not data or (not end and at_end and not finished and not inside):
                return
            taken = data[: end or len(data)]
            shown = b"" if inside else taken
            inside = not end and not (at_end and finished)
            block = Block(offset, shown, offset + len(taken), taken.count(b"\n"))
            yield block
            offset = block.next_offset


def _end_of_lines(data: bytes, separators: bytes, *, first: bool) -> int:
    """Return the offset behind the first or the last separator, 0 where there is none."""
    places = [data.find(byte) if first else data.rfind(byte) for byte in _single(separators)]
    found = [place for place in places if place >= 0]
    return (min(found) if first else max(found)) + 1 if found else 0


def _single(separators: bytes) -> list[bytes]:
    return [separators[i : i + 1] for i in range(len(separators))]


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


class Arrivals:
    """When the bytes of a log arrived, by its index; for offsets near each other.

    Args:
        path: ``log.index``: records of offset and microseconds since the epoch.
        fallback_us: The time of bytes that no record tells of.
    """

    def __init__(self, path: Path, fallback_us: int) -> None:
        self._path = path
        self._fallback_us = fallback_us

    def between(self, offset: int, end: int) -> list[tuple[int, int]]:
        """Return the records that tell of the bytes from ``offset`` to ``end``."""
        try:
            file = self._path.open("rb", buffering=0)
        except FileNotFoundError:
            return []
        with file:
            count = file.seek(0, os.SEEK_END) // _TIME.size
            offsets = _Offsets(file, count)
            start = max(0, bisect_right(offsets, offset) - 1)
            stop = bisect_right(offsets, end, lo=start)
            data = _read(file, start * _TIME.size, (stop - start) * _TIME.size)
        return list(_TIME.iter_unpack(data[: len(data) // _TIME.size * _TIME.size]))

    def times_us(self, offsets: list[int]) -> list[int]:
        """Return the times at which the bytes at some growing offsets arrived."""
        if not offsets:
            return []
        records = self.between(offsets[0], offsets[-1])
        places = [record[0] for record in records]
        found = (bisect_right(places, offset) - 1 for offset in offsets)
        return [records[place][1] if place >= 0 else self._fallback_us for place in found]


class _Offsets:
    """The offsets in an index, read one by one, for bisection."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        self._file = file
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> int:
        offset: int = _TIME.unpack(_read(self._file, place * _TIME.size, _TIME.size))[0]
        return offset

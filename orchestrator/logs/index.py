"""Arrival times of a log: the fixed-size records of ``log.index``, never loaded as a whole."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

RECORD = struct.Struct("<QQ")  # byte offset in the log, microseconds since the epoch
_BLOCK_RECORDS = 4096


class LogIndex:
    """Reads ``log.index``: record (offset, time) says when the bytes from that offset on arrived.

    Offsets grow; times grow unless the machine's clock was set back. A half-written last record
    (its writer was killed) is ignored, and so is a missing file: then no time is known.

    Args:
        path: The index file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def time_us_at(self, offset: int) -> int | None:
        """Return when the byte at ``offset`` arrived, in microseconds since the epoch."""
        with self._opened() as opened:
            if opened is None:
                return None
            file, count = opened
            position = self._first(file, count, lambda record: record[0] > offset) - 1
            return self._record(file, position)[1] if position >= 0 else None

    def offset_at(self, time_us: int) -> int | None:
        """Return the offset of the first byte that arrived at or after ``time_us``.

        None means that no byte is known to have arrived that late.
        """
        with self._opened() as opened:
            if opened is None:
                return None
            file, count = opened
            position = self._first(file, count, lambda record: record[1] >= time_us)
            return self._record(file, position)[0] if position < count else None

    def first_and_last(self) -> tuple[int, int] | None:
        """Return when the first and the last bytes arrived; None when no time is known."""
        with self._opened() as opened:
            if opened is None or not opened[1]:
                return None
            file, count = opened
            return self._record(file, 0)[1], self._record(file, count - 1)[1]

    def times_from(self, offset: int) -> Callable[[int], int | None]:
        """Return a function from byte offset to arrival time for offsets that only grow.

        It reads the index once, in blocks, beside whoever reads the log in order.

        Args:
            offset: The first offset that will be asked for.
        """
        return _Walk(self._records_from(offset)).time_us_at

    def _records_from(self, offset: int) -> Iterator[tuple[int, int]]:
        with self._opened() as opened:
            if opened is None:
                return
            file, count = opened
            start = max(0, self._first(file, count, lambda record: record[0] > offset) - 1)
        while block := self._block(start):
            yield from RECORD.iter_unpack(block)
            start += _BLOCK_RECORDS

    def _block(self, start: int) -> bytes:
        # Opened for each block: an abandoned reader then holds no descriptor.
        with self._opened() as opened:
            if opened is None:
                return b""
            file, count = opened
            file.seek(start * RECORD.size)
            return file.read(max(0, min(_BLOCK_RECORDS, count - start)) * RECORD.size)

    @contextmanager
    def _opened(self) -> Iterator[tuple[BinaryIO, int] | None]:
        """Give the open index and its number of whole records, or None where there is none."""
        try:
            file = self._path.open("rb", buffering=0)
        except FileNotFoundError:
            yield None
            return
        with file:
            yield file, file.seek(0, os.SEEK_END) // RECORD.size

    @staticmethod
    def _record(file: BinaryIO, position: int) -> tuple[int, int]:
        file.seek(position * RECORD.size)
        offset, time_us = RECORD.unpack(file.read(RECORD.size))
        return offset, time_us

    def _first(self, file: BinaryIO, count: int, holds: Callable[[tuple[int, int]], bool]) -> int:
        """Return the position of the first record for which ``holds``, else ``count``."""
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if holds(self._record(file, middle)):
                high = middle
            else:
                low = middle + 1
        return low


class _Walk:
    def __init__(self, records: Iterator[tuple[int, int]]) -> None:
        self._records = records
        self._time_us: int | None = None
        self._ahead = next(records, None)

    def time_us_at(self, offset: int) -> int | None:
        while self._ahead is not None and self._ahead[0] <= offset:
            self._time_us = self._ahead[1]
            self._ahead = next(self._records, None)
        return self._time_us

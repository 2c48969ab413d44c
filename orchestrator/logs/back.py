"""Cutting a log into lines of bounded size from its end towards its beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from orchestrator.logs.lines import MAX_LINE_BYTES

_BLOCK_BYTES = 256 * 1024


class Span(NamedTuple):
    """Where a line, or a piece of a long one, begins and where the next one does."""

    offset: int
    next_offset: int
    body: bytes
    """Without its newline."""

    @property
    def has_newline(self) -> bool:
        """Whether the line ends here."""
        return self.next_offset - self.offset > len(self.body)


def spans_before(
    read: Callable[[int, int], bytes],
    end: int,
    lowest: int = 0,
    *,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[Span]:
    """Give the lines between two offsets, the last one first.

    Together they are all bytes between the two. Longer lines are cut between characters.

    Args:
        read: Returns so many bytes from an offset on.
        end: Where the last line ends: behind a newline, or at a cut.
        lowest: Where the first line begins.
        max_line_bytes: Longer lines are given in pieces of at most this size.
    """
    data, base, stop = b"", end, 0  # data[:stop] are the bytes from base on that are not given
    while base + stop > lowest:
        start = _start(data, stop, max_line_bytes, is_all=base == lowest)
        if start is None:
            more = min(_BLOCK_BYTES, base - lowest)
            block = read(base - more, more)
            if len(block) < more:
                return  # the log is gone
            data, base, stop = block + data[:stop], base - more, stop + more
            continue
        yield Span(base + start, base + stop, data[start : _body_end(data, stop)])
        stop = start


def _body_end(data: bytes, stop: int) -> int:
    return stop - 1 if data[stop - 1 : stop] == b"\n" else stop


def _start(data: bytes, stop: int, most: int, *, is_all: bool) -> int | None:
    """Return where the line begins that ends at ``stop``; None when more has to be read."""
    end = _body_end(data, stop)
    newline = data.rfind(b"\n", max(0, end - most - 1), end)
    if newline >= 0:
        return newline + 1
    if end <= most:
        return 0 if is_all else None
    return _character_start(data, end - most)


def _character_start(data: bytes, start: int) -> int:
    for cut in range(start, min(start + 4, len(data))):
        if data[cut] & 0xC0 != 0x80:  # not a continuation byte
            return cut
    return start  # no character is that long: these bytes are not UTF-8

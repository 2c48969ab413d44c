"""Cutting a stream of bytes into lines of bounded size; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from orchestrator.clock import from_epoch

MAX_LINE_BYTES = 256 * 1024  # the largest event of CloudWatch Logs


class LogLine(NamedTuple):
    """One line of a log, or one piece of a line longer than ``MAX_LINE_BYTES``.

    ``offset`` and ``next_offset`` are byte offsets in the log file; reading again from
    ``next_offset`` gives exactly what follows.
    """

    offset: int
    next_offset: int
    time_us: int | None
    """When its first byte arrived, in microseconds since the epoch; None where unknown."""
    text: str
    """Without its newline; carriage returns and escapes are kept (see ``render``)."""
    continued: bool
    """The line goes on in the next piece."""

    @property
    def time(self) -> datetime | None:
        """When its first byte arrived, aware, in UTC."""
        return None if self.time_us is None else from_epoch(self.time_us / 1_000_000)


def split_lines(
    blocks: Iterable[bytes],
    offset: int,
    time_us_at: Callable[[int], int | None],
    *,
    finished: bool,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[LogLine]:
    """Cut blocks of bytes into lines.

    Where the blocks are cut makes no difference. Longer lines are cut between characters, so
    the texts of the pieces together are the text of the line.

    Args:
        blocks: Consecutive bytes of the log.
        offset: Byte offset of the first block.
        time_us_at: Arrival time of the byte at an offset; asked with growing offsets.
        finished: Nothing will follow: a last line without a newline is given too.
        max_line_bytes: Longer lines are given in pieces of about this size.
    """
    rest = b""
    for block in blocks:
        data = rest + block
        start = 0
        for end, after, continued in _cuts(data, max_line_bytes):
            text = data[start:end].decode("utf-8", "replace")
            yield LogLine(
                offset + start, offset + after, time_us_at(offset + start), text, continued
            )
            start = after
        rest = data[start:]
        offset += start
    if finished and rest:
        text = rest.decode("utf-8", "replace")
        yield LogLine(offset, offset + len(rest), time_us_at(offset), text, continued=False)


def _cuts(data: bytes, max_line_bytes: int) -> Iterator[tuple[int, int, bool]]:
    """Give (end, start of the next, continued) for each line or piece that is complete."""
    start = 0
    find = data.find
    while True:
        newline = find(b"\n", start, start + max_line_bytes + 1)
        if newline >= 0:
            yield newline, newline + 1, False
            start = newline + 1
        elif len(data) - start > max_line_bytes:
            start = character_boundary(data, start + max_line_bytes)
            yield start, start, True
        else:
            return


def character_boundary(data: bytes, end: int) -> int:
    """Return ``end``, or up to three bytes less so that no UTF-8 character is cut there."""
    for cut in range(end, max(end - 4, 0), -1):
        if data[cut] & 0xC0 != 0x80:  # not a continuation byte
            return cut
    return end  # no character is that long: these bytes are not UTF-8

"""The log of one host, read by byte offset, by line, by time, from its end and while it grows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from orchestrator_runtime.contract import LOG_FILE, LOG_INDEX_FILE

from orchestrator.errors import InvalidSpec
from orchestrator.logs.back import Span, spans_before
from orchestrator.logs.index import LogIndex
from orchestrator.logs.lines import MAX_LINE_BYTES, LogLine, character_boundary, split_lines
from orchestrator.logs.render import render

_BLOCK_BYTES = 1024 * 1024
_TAIL_BYTES = 8 * 1024 * 1024
_PENDING_BYTES = 16 * 1024
_BATCH_LINES = 1000
_FIRST_WAIT_SECONDS = 0.05


class LogFile:
    """Reads one append-only log, also while its supervisor writes it.

    Nothing here writes, keeps a descriptor open or holds more than some blocks in memory. A file
    that does not exist yet reads as empty.

    Args:
        path: The log file.
        index: Its index; ``<path>.index`` when left out.
    """

    def __init__(self, path: Path, index: Path | None = None) -> None:
        self.path = path
        self._index = LogIndex(index or path.with_name(path.name + ".index"))

    def size(self) -> int:
        """Return the number of bytes written so far."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, offset: int, limit_bytes: int) -> bytes:
        """Return at most ``limit_bytes`` bytes from ``offset`` on, exactly as they were printed.

        Raises:
            InvalidSpec: When the offset or the limit is negative.
        """
        _check_not_negative("offset", offset)
        _check_not_negative("limit_bytes", limit_bytes)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(offset)
                return file.read(limit_bytes)
        except FileNotFoundError:
            return b""

    def lines(
        self, offset: int = 0, limit: int | None = None, *, finished: bool = False
    ) -> Iterator[LogLine]:
        """Give the lines from ``offset`` on, up to what is written now.

        Args:
            offset: Where to begin: 0, or the ``next_offset`` of the last line seen.
            limit: At most this many lines.
            finished: The writer has ended: a last line without a newline is given too. While it
                has not, that line waits until it is whole.

        Raises:
            InvalidSpec: When the offset or the limit is negative.
        """
        _check_not_negative("offset", offset)
        if limit is not None:
            _check_not_negative("limit", limit)
        lines = split_lines(
            self._blocks(offset), offset, self._index.times_from(offset), finished=finished
        )
        return islice(lines, limit)

    def tail(
        self, count: int, *, finished: bool = False, max_bytes: int = _TAIL_BYTES
    ) -> list[LogLine]:
        """Return the last lines, reading backwards from the end.

        Args:
            count: At most this many lines.
            finished: See ``lines``.
            max_bytes: Read at most this much; very long lines then leave fewer than ``count``.
        """
        _check_not_negative("count", count)
        start = self._start_of_last_lines(count + 1, self.size(), max_bytes)
        return list(deque(self.lines(start, finished=finished), maxlen=count))

    def last_lines(
        self,
        end: int | None = None,
        *,
        lowest: int = 0,
        count: int,
        max_bytes: int = _TAIL_BYTES,
        finished: bool = False,
    ) -> list[LogLine]:
        """Return the last lines before an offset, in their order.

        Going on before the first of them gives, with ``lines`` from the last of them, every byte.

        Args:
            end: A line's ``offset`` or ``next_offset``; None = the end of what is written.
            lowest: Nothing before this offset is given.
            count: At most this many lines.
            max_bytes: At most so many bytes, but one line.
            finished: See ``lines``.
        """
        _check_not_negative("count", count)
        last = self.end_of_lines(finished=finished)
        spans: list[Span] = []
        left = max_bytes
        for span in spans_before(self.read, last if end is None else min(end, last), lowest):
            left -= span.next_offset - span.offset
            if len(spans) == count or (spans and left < 0):
                break
            spans.append(span)
        if not spans:
            return []
        time_us_at = self._index.times_from(spans[-1].offset)
        return [
            LogLine(
                span.offset,
                span.next_offset,
                time_us_at(span.offset),
                span.body.decode("utf-8", "replace"),
                not span.has_newline and not (finished and span.next_offset == last),
            )
            for span in reversed(spans)
        ]

    def end_of_lines(self, *, finished: bool = False) -> int:
        """Return where the last line ends that can be given; ``finished`` as for ``lines``."""
        size = self.size()
        if finished:
            return size
        start = max(0, size - MAX_LINE_BYTES - 1)
        data = self.read(start, size - start)
        newline = data.rfind(b"\n")
        if newline >= 0 or len(data) <= MAX_LINE_BYTES:
            return start + newline + 1
        return start + character_boundary(data, len(data) - 1)  # a long line that still grows

    def cut(self, data: bytes, offset: int, *, finished: bool = False) -> Iterator[LogLine]:
        """Give the lines of bytes that were read before; arguments as for ``lines``."""
        return split_lines([data], offset, self._index.times_from(offset), finished=finished)

    def pending(self, offset: int) -> str:
        """Return what a terminal would show of the unfinished line at ``offset``.

        For progress bars, which print no newline for minutes; it consumes nothing.
        """
        start = max(offset, self.size() - _PENDING_BYTES)
        return render(
            self.read(start, _PENDING_BYTES).rpartition(b"\n")[2].decode("utf-8", "replace")
        )

    def time_us_at(self, offset: int) -> int | None:
        """Return when the byte at ``offset`` arrived, in microseconds since the epoch."""
        return self._index.time_us_at(offset)

    def first_and_last_time_us(self) -> tuple[int, int] | None:
        """Return when the first and the last bytes arrived; None when there are none."""
        return self._index.first_and_last() if self.size() else None

    def offset_at(self, time: datetime) -> int:
        """Return the offset of the first line that began to arrive at or after ``time``.

        It is the size of the log when no line did.
        """
        return self.offset_at_us(round(time.timestamp() * 1_000_000))

    def offset_at_us(self, time_us: int) -> int:
        """Return the same for microseconds since the epoch, however many."""
        size = self.size()
        offset = self._index.offset_at(time_us)
        if offset is None or offset >= size:
            return size
        if offset == 0 or self.read(offset - 1, 1) == b"\n":
            return offset
        newline = next(self._occurrences(b"\n", offset, size), None)
        return size if newline is None else newline + 1

    def batches(
        self,
        *,
        wait: Callable[[float], bool],
        finished: Callable[[], bool],
        offset: int = 0,
        max_wait_seconds: float = 1.0,
    ) -> Iterator[list[LogLine]]:
        """Give lines as they are written, in lists of at most 1,000, until the writer has ended.

        An empty list follows each wait before which nothing came, so that a caller can send a
        sign of life or leave. This never sleeps by itself and holds no more than a list.

        Args:
            wait: Blocks for at most the given seconds; true when something may have been written.
                A hint only: waits grow while nothing comes, and each is followed by a read. (A
                ``threading.Event`` must be cleared by the function that waits for it.)
            finished: Whether the writer has ended; asked before each read, so that what it wrote
                last is read.
            offset: Where to begin.
            max_wait_seconds: The longest single wait.
        """
        seconds = _FIRST_WAIT_SECONDS
        while True:
            ended = finished()
            came = False
            lines = self.lines(offset, finished=ended)
            while batch := list(islice(lines, _BATCH_LINES)):
                offset = batch[-1].next_offset
                came = True
                yield batch
            if ended:
                return
            if came:
                seconds = _FIRST_WAIT_SECONDS
            if not wait(seconds):
                seconds = min(2 * seconds, max_wait_seconds)
            if not came:
                yield []

    def follow(
        self,
        wait: Callable[[float], bool],
        finished: Callable[[], bool],
        *,
        offset: int = 0,
        max_wait_seconds: float = 1.0,
    ) -> Iterator[LogLine]:
        """Give lines as they are written, one by one; arguments as for ``batches``."""
        for batch in self.batches(
            wait=wait, finished=finished, offset=offset, max_wait_seconds=max_wait_seconds
        ):
            yield from batch

    def search(
        self, text: str, offset: int = 0, limit: int | None = None, *, finished: bool = False
    ) -> Iterator[LogLine]:
        """Give the lines, or pieces of long lines, in which ``text`` begins; case matters.

        Raises:
            InvalidSpec: When the text is empty or has a newline.
        """
        needle = text.encode("utf-8", "surrogatepass")
        if not needle or b"\n" in needle:
            raise InvalidSpec(
                f"the text to search must be one non-empty line, got {text!r}; give a part of a line"
            )
        return islice(self._hits(needle, offset, finished), limit)

    def _hits(self, needle: bytes, offset: int, finished: bool) -> Iterator[LogLine]:
        start = offset  # a line or piece is known to begin here
        lines: Iterator[LogLine] = iter(())
        seen = -1
        for hit in self._occurrences(needle, offset, self.size()):
            if hit < start:
                continue  # in the piece given last
            if seen < 0 or hit - seen > _BLOCK_BYTES:  # far ahead: skip what lies between
                start = self._line_start(hit, start)
                lines = self.lines(start, finished=finished)
            seen = hit
            for piece in lines:
                start = piece.next_offset
                if hit < start:
                    yield piece
                    break
            else:
                return  # in a last line that is not whole yet

    def _line_start(self, offset: int, lowest: int) -> int:
        while offset > lowest:
            block_start = max(lowest, offset - _BLOCK_BYTES // 16)
            newline = self.read(block_start, offset - block_start).rfind(b"\n")
            if newline >= 0:
                return block_start + newline + 1
            offset = block_start
        return lowest

    def _occurrences(self, needle: bytes, offset: int, end: int) -> Iterator[int]:
        """Give the offset of each occurrence that begins in ``offset`` … ``end``."""
        overlap = len(needle) - 1
        while offset < end:
            block = self.read(offset, _BLOCK_BYTES + overlap)
            position = block.find(needle)
            while position >= 0 and offset + position < end:
                yield offset + position
                position = block.find(needle, position + 1)
            if len(block) <= overlap:
                return
            offset += len(block) - overlap

    def _start_of_last_lines(self, newlines: int, end: int, max_bytes: int) -> int:
        """Return the offset behind the ``newlines``-th newline before ``end``."""
        lowest = max(0, end - max_bytes)
        while end > lowest:
            block_start = max(lowest, end - _BLOCK_BYTES // 16)
            block = self.read(block_start, end - block_start)
            position = len(block)
            while newlines and (position := block.rfind(b"\n", 0, position)) >= 0:
                newlines -= 1
            if not newlines:
                return block_start + position + 1
            end = block_start
        return lowest

    def _blocks(self, offset: int) -> Iterator[bytes]:
        """Give the bytes from ``offset`` up to the present end."""
        end = self.size()
        while offset < end:
            block = self.read(offset, min(_BLOCK_BYTES, end - offset))
            if not block:
                return
            yield block
            offset += len(block)


def host_log(host_directory: Path) -> LogFile:
    """Return the log of the host that runs in ``host_directory``."""
    return LogFile(host_directory / LOG_FILE, host_directory / LOG_INDEX_FILE)


def _check_not_negative(name: str, value: int) -> None:
    if value < 0:
        raise InvalidSpec(f"`{name} >= 0` must hold, got {value}; count from the start of the log")

"""Looking through much of a log in steps of bounded cost, so that a reader can stop anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.logs.file import LogFile
from orchestrator.logs.lines import MAX_LINE_BYTES, LogLine

CHUNK_BYTES = 128 * 1024
_SKIPPED_IS_CHEAPER = 8
"""A chunk in which nothing can fit is only looked through, not cut into lines."""
_CHUNK_COST = 8192
"""Of reading one chunk and its time."""
_LINE_COST = 200
"""Of cutting and judging one line, in bytes of a long line that would take as long."""


class Step(NamedTuple):
    """A line that fits, or how far nothing more does.

    Attributes:
        time_us: Never before that of the step before it, unless the machine's clock was set back.
        next_offset: Where to go on after this step.
        line: None = there is none up to there.
        cost: What it took to come here, in bytes.
    """

    time_us: int
    next_offset: int
    line: LogLine | None
    cost: int


@dataclass(frozen=True)
class Scan:
    """What to look for, and where.

    Attributes:
        may_have: Whether bytes can have a line that fits; wrong answers cost time only.
        fits: Whether a line does.
        end: Lines from here on are not looked at; None = to the end of the log.
        finished: See ``LogFile.lines``.
        chunk_bytes: About so much is read for one step.
    """

    may_have: Callable[[bytes], bool]
    fits: Callable[[str], bool]
    end: int | None = None
    finished: bool = False
    chunk_bytes: int = CHUNK_BYTES

    def steps(self, log: LogFile, offset: int) -> Iterator[Step]:
        """Yield what is found from an offset on, up to what is written now."""
        size = log.size()
        while offset < (size if self.end is None else min(size, self.end)):
            data = _chunk(log, offset, size, self.chunk_bytes)
            at = log.time_us_at(offset) or 0
            whole = data.endswith(b"\n")
            if whole and not self.may_have(data):
                offset += len(data)
                yield Step(at, offset, None, _CHUNK_COST + len(data) // _SKIPPED_IS_CHEAPER)
                continue
            finished = self.finished and offset + len(data) == size
            before = offset
            for step in self._judged(log.cut(data, offset, finished=finished), at):
                offset = step.next_offset
                yield step
            if offset == before:
                return  # a last line that is not whole yet

    def _judged(self, lines: Iterator[LogLine], at: int) -> Iterator[Step]:
        cost = _CHUNK_COST
        line = None
        for line in lines:
            if self.end is not None and line.offset >= self.end:
                yield Step(at, self.end, None, cost)
                return
            at = line.time_us or at
            cost += _LINE_COST + line.next_offset - line.offset
            if self.fits(line.text):
                yield Step(at, line.next_offset, line, cost)
                cost = 0
        if line is not None and cost:
            yield Step(at, line.next_offset, None, cost)


def _chunk(log: LogFile, offset: int, size: int, few: int) -> bytes:
    """Return whole lines; or more than the longest piece; or all that there is."""
    data = b""
    for most in (few, MAX_LINE_BYTES + 1):
        data = log.read(offset, min(most, size - offset))
        newline = data.rfind(b"\n")
        if newline >= 0:
            return data[: newline + 1]
    return data

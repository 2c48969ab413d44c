"""Puts bytes of a log stream together into lines."""

from __future__ import annotations

import codecs
from typing import NamedTuple

SHOWN_PARTS = 8
SHOWN_CHARACTERS = 500
"""Enough of an unfinished line for a terminal; a progress bar of hours has megabytes."""


class OutputLine(NamedTuple):
    """One line a host printed, without its newline."""

    host: str
    text: str


class LineAssembler:
    """Collects bytes of one host and gives whole lines.

    Args:
        host: Whose lines they are.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._parts: list[str] = []  # of the unfinished line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> list[OutputLine]:
        """Return the lines that these bytes complete."""
        first, *more = self._decoder.decode(data).split("\n")
        self._parts.append(first)
        if not more:
            return []
        lines = ["".join(self._parts), *more[:-1]]
        self._parts = [more[-1]]
        return [OutputLine(self._host, line) for line in lines]

    @property
    def unfinished(self) -> OutputLine:
        """What a terminal would show of the line that has no newline yet, such as a progress bar."""
        tail = "".join(self._parts[-SHOWN_PARTS:])[-SHOWN_CHARACTERS:]
        return OutputLine(self._host, tail.rstrip("\r").rpartition("\r")[2])

    def close(self) -> list[OutputLine]:
        """Return the last line, if it had no newline."""
        rest = "".join(self._parts) + self._decoder.decode(b"", final=True)
        self._parts = []
        return [OutputLine(self._host, rest)] if rest else []

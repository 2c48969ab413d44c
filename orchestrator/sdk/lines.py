"""Puts bytes of a log stream together into lines."""

from __future__ import annotations

import codecs
from typing import NamedTuple


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
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> list[OutputLine]:
        """Return the lines that these bytes complete."""
        if not data:
            return []
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        return [OutputLine(self._host, line) for line in lines]

    def close(self) -> list[OutputLine]:
        """Return the last line, if it had no newline."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        return [OutputLine(self._host, rest)] if rest else []

"""Writes a log and its index as the supervisor does."""

from __future__ import annotations

from pathlib import Path

from orchestrator.logs.index import RECORD


class LogWriter:
    def __init__(self, directory: Path) -> None:
        self.log = directory / "log"
        self.index = directory / "log.index"

    def write(self, chunk: bytes, time_us: int = 0) -> None:
        """Append one read chunk with its arrival time."""
        with self.log.open("ab") as log, self.index.open("ab") as index:
            index.write(RECORD.pack(log.tell(), time_us))
            log.write(chunk)

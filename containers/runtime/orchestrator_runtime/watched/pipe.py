"""The FIFO of records of a bare command. What it holds is hostile."""

from __future__ import annotations

import os

from orchestrator_runtime import contract, records
from orchestrator_runtime.intake import record_of
from orchestrator_runtime.pump import CHUNK_BYTES, enlarge_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_CHUNKS = 64
"""Read at once, more than a pipe holds: a program that floods it must not keep us from signals."""


class RecordPipe:
    """Takes the debugger's records; others go to the job around this command, if there is one.

    Args:
        directory: Where the FIFO is made.
        beyond: The FIFO of the job in which the command itself runs.

    Attributes:
        path: Where it is.
        descriptor: Readable when records arrived.
    """

    def __init__(self, directory: str, beyond: str | None = None) -> None:
        self.path = os.path.join(directory, contract.RECORDS_FIFO)
        os.mkfifo(self.path, 0o600)
        # Read and write: no end of file while no program has it open.
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        enlarge_pipe(self.descriptor)
        self._beyond = records.Sink(beyond) if beyond else None
        self._partial = b""

    def read(self) -> list[dict[str, Any]]:
        """Return the debugger's records that arrived since."""
        found: list[dict[str, Any]] = []
        for _ in range(MOST_CHUNKS):
            try:
                chunk = os.read(self.descriptor, CHUNK_BYTES)
            except BlockingIOError:
                break
            *lines, partial = (self._partial + chunk).split(b"\n")
            # What is left of a longer line is no record either, as it begins in the middle.
            self._partial = partial[: contract.RECORD_MAX_BYTES + 1]
            for line in lines:
                self._sort(line, found)
        return found

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)
        if self._beyond is not None:
            self._beyond.flush_at_exit()
            self._beyond.close()

    def _sort(self, line: bytes, found: list[dict[str, Any]]) -> None:
        record = record_of(line)
        if record is None:
            return
        if record["kind"] in contract.DEBUG_KINDS:
            found.append(record)
        elif self._beyond is not None:
            self._beyond.send(line + b"\n")

"""Records of the program: FIFO -> ``records.jsonl``, or ``debugger.jsonl``.

The FIFO is hostile, the files are not.
"""

from __future__ import annotations

import os
import stat

from orchestrator_runtime import contract, files, jsonlite
from orchestrator_runtime.pump import CHUNK_BYTES, enlarge_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orchestrator_runtime.mask import Masker


class RecordIntake:
    """Keeps each line that is a JSON object of at most RECORD_MAX_BYTES, up to a quota.

    Attributes:
        dropped: Lines that were no records, or over the quota.
        stop: The first finding that asks for the job to be stopped.
    """

    def __init__(self, directory: str, masker: Masker, quota: int) -> None:
        """Make the FIFO (writable for a program that runs as another user) and the file.

        Raises:
            OSError: They cannot be made.
        """
        fifo = os.path.join(directory, contract.RECORDS_FIFO)
        if not _is_fifo(fifo):
            os.mkfifo(fifo, 0o622)
        os.chmod(fifo, 0o622)  # noqa: S103 -- the program's user may differ; umask took the bit
        # Read and write: no end of file while no program has it open.
        self.descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        enlarge_pipe(self.descriptor)
        self._records = _File(os.path.join(directory, contract.RECORDS_FILE), quota)
        self._directory = directory
        self._debug: _File | None = None
        self._masker = masker
        self._partial = b""
        self._skipping = False
        self.dropped = 0
        self.stop: dict[str, Any] | None = None

    def read(self) -> bool:
        """Take what is there; return whether there may be more."""
        try:
            chunk = os.read(self.descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return False
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        kept = [line for line in lines if self._accepts(line)]
        if len(self._partial) > contract.RECORD_MAX_BYTES:
            self._partial, self._skipping = b"", True
        if kept:
            self._put(self._records, kept)
        return len(chunk) == CHUNK_BYTES

    @property
    def knows_debugger(self) -> bool:
        """Whether anything of a debugger has come."""
        return self._debug is not None

    def unmonitored(self, reason: str, time: float) -> None:
        """Keep that nothing was watched, and why."""
        said = {"kind": "debugger", "state": "unmonitored", "reason": reason, "time": time}
        self._take_debug(jsonlite.dumps(said).encode(), said)

    def drain(self) -> None:
        """Take all that is left, and let go of the FIFO. No program may be alive."""
        while self.read():
            pass
        os.close(self.descriptor)

    def sync(self) -> None:
        """Make the records durable; a failing disk counts as one lost record."""
        for file in (self._records, self._debug):
            if file is not None and not file.sync():
                self.dropped += 1

    def _accepts(self, line: bytes) -> bool:
        if self._skipping:  # the end of a line whose beginning was too long
            self._skipping = False
            self.dropped += 1
            return False
        record = record_of(line)
        if record is None:
            self.dropped += 1
            return False
        if record["kind"] in contract.DEBUG_KINDS:
            self._take_debug(line, record)
            return False
        return True

    def _take_debug(self, line: bytes, record: dict[str, Any]) -> None:
        if self._debug is None:
            path = os.path.join(self._directory, contract.DEBUG_RECORDS_FILE)
            self._debug = _File(path, contract.DEBUG_QUOTA_BYTES)
        self._put(self._debug, [line])
        if self.stop is None and record["kind"] == "finding" and record.get("stop") is True:
            self.stop = record

    def _put(self, file: _File, lines: list[bytes]) -> None:
        if not file.append(self._masker.hide(b"\n".join(lines)) + b"\n"):
            self.dropped += len(lines)


class _File:
    """A file that grows up to a quota."""

    def __init__(self, path: str, quota: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = os.open(path, flags, 0o600)
        self._room = quota - os.fstat(self._descriptor).st_size
        self._empty = True

    def append(self, data: bytes) -> bool:
        if len(data) > self._room:
            return False
        self._empty = False
        try:
            files.write_all(self._descriptor, data)
        except OSError:
            return False
        self._room -= len(data)
        return True

    def sync(self) -> bool:
        try:
            if not self._empty:
                files.sync_data(self._descriptor)
        except OSError:
            return False
        return True


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def record_of(line: bytes) -> dict[str, Any] | None:
    """Return a line's JSON object, if it has a ``kind``."""
    if len(line) > contract.RECORD_MAX_BYTES or not line.startswith(b"{"):
        return None
    try:
        value = jsonlite.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("kind"), str) else None

"""Records of the program: FIFO -> ``records.jsonl``. The FIFO is hostile, the file is not."""

from __future__ import annotations

import os
import stat

from orchestrator_runtime import contract, files, jsonlite
from orchestrator_runtime.pump import CHUNK_BYTES, enlarge_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator_runtime.mask import Masker


class RecordIntake:
    """Keeps each line that is a JSON object of at most RECORD_MAX_BYTES, up to a quota."""

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
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(os.path.join(directory, contract.RECORDS_FILE), flags, 0o600)
        self._room = quota - os.fstat(self._file).st_size
        self._masker = masker
        self._partial = b""
        self._skipping = False
        self._empty = True
        self.dropped = 0

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
            self._put(self._masker.hide(b"\n".join(kept)) + b"\n")
        return len(chunk) == CHUNK_BYTES

    def drain(self) -> None:
        """Take all that is left, and let go of the FIFO. No program may be alive."""
        while self.read():
            pass
        os.close(self.descriptor)

    def sync(self) -> None:
        """Make the records durable; a failing disk counts as one lost record."""
        if self._empty:
            return
        try:
            files.sync_data(self._file)
        except OSError:
            self.dropped += 1

    def _accepts(self, line: bytes) -> bool:
        if self._skipping:  # the end of a line whose beginning was too long
            self._skipping = False
            self.dropped += 1
            return False
        if is_record(line):
            return True
        self.dropped += 1
        return False

    def _put(self, data: bytes) -> None:
        if len(data) > self._room:
            self.dropped += data.count(b"\n")
            return
        self._empty = False
        try:
            files.write_all(self._file, data)
        except OSError:
            self.dropped += data.count(b"\n")
        else:
            self._room -= len(data)


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def is_record(line: bytes) -> bool:
    """Return whether a line is a JSON object with a ``kind``."""
    if len(line) > contract.RECORD_MAX_BYTES or not line.startswith(b"{"):
        return False
    try:
        value = jsonlite.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("kind"), str)

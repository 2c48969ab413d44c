"""Output of the program -> ``log`` and ``log.index``: never blocks, never loses without a mark.

Every read chunk is written whole to ``log``. ``log.index`` gets one 16-byte record (offset,
microseconds) before a chunk's bytes, unless the last record is less than a millisecond old;
that time doubles with every 8 MiB of index.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from struct import Struct

from orchestrator_runtime import contract, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator_runtime.mask import Masker

PIPE_BYTES = 1 << 20
CHUNK_BYTES = 1 << 18
TAIL_BYTES = 4096
_INDEX = Struct("<QQ")
_INDEX_STEP_NS = 1_000_000
INDEX_RECORDS = 1 << 19
_F_SETPIPE_SZ = 1031  # fcntl has the name since 3.10
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def enlarge_pipe(descriptor: int) -> None:
    """Let a pipe hold 1 MiB, so that bursts do not stop the writer. A refusal changes nothing."""
    if not sys.platform.startswith("linux"):
        return
    try:
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return  # over the user's pipe quota: the default size works too


class Pump:
    """The pipe that a program writes to. ``reader`` is to be watched, ``writer`` is its output."""

    def __init__(self, masker: Masker) -> None:
        self.tail = b""
        self.reader = self.writer = -1
        self._masker = masker

    def open_pipe(self) -> None:
        """Make a fresh pipe for the next program."""
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        enlarge_pipe(self.reader)

    def close_writer(self) -> None:
        """Leave the program as the only writer."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def read(self) -> bool:
        """Move what is there from the pipe to its place; False at its end."""
        try:
            chunk = os.read(self.reader, CHUNK_BYTES)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        self._take(self._masker.feed(chunk) if self._masker else chunk)
        return True

    def close_pipe(self) -> None:
        """Close this program's pipe and write what was held back."""
        self.close_writer()
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1
        self._take(self._masker.end())

    def _take(self, data: bytes) -> None:
        if not data:
            return
        kept = self.tail + data if len(data) < TAIL_BYTES else data
        self.tail = kept[-TAIL_BYTES:]
        self._put(data)

    def _put(self, data: bytes) -> None:
        raise NotImplementedError


class ConsolePump(Pump):
    """Passes the output on to this process's own."""

    def _put(self, data: bytes) -> None:
        try:
            files.write_all(1, data)
        except OSError:  # nobody reads any more; the program shall not notice
            return


class LogPump(Pump):
    """The log of one host."""

    def __init__(
        self,
        directory: str,
        quota: int,
        masker: Masker,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        index_records: int = INDEX_RECORDS,
    ) -> None:
        """Open the log, which may already hold lines of the back end.

        Args:
            directory: The host directory.
            quota: Bytes that the log may have.
            masker: What to hide.
            clock_ns: Wall clock in nanoseconds.
            index_records: After how many records of the index they become half as dense.

        Raises:
            OSError: It cannot be opened.
        """
        super().__init__(masker)
        self._log = os.open(os.path.join(directory, contract.LOG_FILE), _APPEND, 0o600)
        self._index = os.open(os.path.join(directory, contract.LOG_INDEX_FILE), _APPEND, 0o600)
        self._quota = quota
        self._indexed_at = self._indexed = 0
        self._index_step_ns = _INDEX_STEP_NS
        self._index_records = index_records
        self._clock_ns = clock_ns
        self._dropped = 0
        self._full = False
        self.truncated = False
        self.bytes = os.fstat(self._log).st_size

    def note(self, text: str) -> None:
        """Add a line of the platform to the log."""
        self._put(b"[orchestrator] " + self._masker.hide(text.encode("utf-8", "replace")) + b"\n")

    def sync(self) -> None:
        """Make the log durable. A failing disk is marked as a cut."""
        if not self._indexed_at:
            return
        try:
            files.sync_data(self._log)
            files.sync_data(self._index)
        except OSError:
            self.truncated = True

    def _put(self, data: bytes) -> None:
        if self._full:
            return
        room = self._quota - self.bytes
        if len(data) <= room:
            self._append(data)
            return
        self._full = True
        self._append(data[: max(room, 0)])
        self._append(contract.LOG_QUOTA_MARKER % self._quota)
        self.truncated = True

    def _append(self, data: bytes) -> None:
        if self._dropped:
            mark = b"\n[orchestrator] %d bytes of output were lost: the disk was full\n"
            if not self._try(mark % self._dropped):
                self._dropped += len(data)
                return
            self._dropped = 0
        before = self.bytes
        if not self._try(data):  # the job goes on, the gap is marked when there is space again
            self._dropped += len(data) - (self.bytes - before)
            self.truncated = True

    def _try(self, data: bytes) -> bool:
        try:
            self._stamp()
            self._write(data)
        except OSError:
            return False
        return True

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._log, view)
            self.bytes += written
            view = view[written:]

    def _stamp(self) -> None:
        now = self._clock_ns()
        if 0 <= now - self._indexed_at < self._index_step_ns:
            return
        files.write_all(self._index, _INDEX.pack(self.bytes, now // 1000))
        self._indexed_at = now
        self._indexed += 1
        if self._indexed == self._index_records:  # years of small lines must not fill the disk
            self._indexed, self._index_step_ns = 0, self._index_step_ns * 2


def last_lines(tail: bytes, count: int) -> str:
    """Return the last non-empty lines of an output, for a message."""
    lines = [line for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(lines[-count:])

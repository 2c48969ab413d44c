"""How a host ended: outcome, code and one sentence for people; and the record of it."""

from __future__ import annotations

import os
import time

from orchestrator_runtime import contract, files, jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator_runtime.contract import ExitRecord, Outcome

RESERVE_BYTES = 1 << 16
_ATTEMPTS = 60
_NAMES = {
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    15: "SIGTERM",
}


class Ending:
    """What was seen of a program's end.

    Attributes:
        status: Wait status; None if it was never started.
        error: Why it could not be executed.
        sandboxed: Whether a sandbox that reports signals as 128 + n stands between.
        out_of_memory_kills: Processes killed for memory.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.error: str | None = None
        self.sandboxed = False
        self.out_of_memory_kills = 0

    def code_and_signal(self) -> tuple[int | None, int | None]:
        """Return the exit code and the signal; a sandbox leaves both, as 128 + n."""
        if self.status is None or self.error is not None:
            return None, None
        code = os.waitstatus_to_exitcode(self.status)
        if code < 0:
            return None, -code
        if self.sandboxed and 128 < code < 128 + 65:
            return code, code - 128
        return code, None


def signal_name(number: int) -> str:
    """Return the name of a signal, e.g. ``SIGSEGV (11)``."""
    name = _NAMES.get(number)
    if name is None:
        import signal  # noqa: PLC0415 -- 2 ms that only rare signals cost

        try:
            name = signal.Signals(number).name
        except ValueError:
            name = "signal"
    return f"{name} ({number})"


def sentence(code: int | None, signal: int | None) -> str:
    """Say how a program ended."""
    if signal is not None:
        return f"the program was killed by {signal_name(signal)}"
    if code is None:
        return "the program was not started"
    return f"the program exited with code {code}"


def outcome_of(ending: Ending, stopped: Outcome | None) -> Outcome:
    """Return why the host ended. A stop is told by having been asked for, not by the code."""
    if stopped is not None:
        return stopped
    if ending.error is not None or ending.status is None:
        return "not_started"
    code, signal = ending.code_and_signal()
    if ending.out_of_memory_kills and (signal is not None or code):
        return "out_of_memory"
    return "exited"


class ExitFile:
    """``exit.json``, with space set aside so that a full disk cannot swallow the end of a job."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, contract.EXIT_FILE)
        self._draft = f"{self._path}.new"
        self._descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, RESERVE_BYTES)
        except (AttributeError, OSError):  # macOS, or a file system that cannot reserve
            os.ftruncate(self._descriptor, 0)

    def write(self, record: ExitRecord) -> None:
        """Write the record as one step, its contents durably; try for a minute if need be.

        Raises:
            OSError: The disk refused for a minute.
        """
        data = jsonlite.dumps(record).encode()
        for attempt in range(_ATTEMPTS):
            try:
                self._publish(data)
            except FileNotFoundError:  # the host directory was removed: nobody wants to know
                raise
            except OSError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(1)
            else:
                return

    def _publish(self, data: bytes) -> None:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        files.write_all(self._descriptor, data)
        os.ftruncate(self._descriptor, len(data))
        os.fsync(self._descriptor)
        os.rename(self._draft, self._path)

    def sync_name(self) -> None:
        """Make the record's name durable too; what reads it now need not wait for this."""
        files.sync_directory(os.path.dirname(self._path))

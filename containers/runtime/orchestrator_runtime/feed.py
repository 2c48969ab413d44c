"""Fills the FIFOs of channels in Pipe mode: a process for each channel, which ends with the program.

``<channel>_0`` is there before the program starts. An epoch's FIFO is opened once for reading. When
all of it is written, or its reader has closed it early, the next one's FIFO appears and its own goes.
A feeder runs outside of the sandbox in a directory that the program may change: it follows no link.
"""

from __future__ import annotations

import os
import stat
import sys

from orchestrator_runtime import contract, files, signals
from orchestrator_runtime.pump import enlarge_pipe
from orchestrator_runtime.stream import Stream, StreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn

    from orchestrator_runtime.contract import PipePlan
else:
    import _signal


class Feeders:
    """The feeders of one host. ``report`` is a descriptor to watch, -1 when there is none.

    Args:
        plans: The channels.
        ml: The tree that the FIFOs belong to.
    """

    def __init__(self, plans: list[PipePlan], ml: str) -> None:
        self.report = -1
        self._plans = plans
        self._ml = ml
        self._said = b""
        self._pids: set[int] = set()

    def start(self) -> None:
        """Make the first FIFOs, and the feeders. Must run on the main thread: they end with it.

        Raises:
            OSError: They cannot be made.
        """
        if not self._plans:
            return
        directory = files.open_directory(self._ml, contract.INPUT_DATA)
        self.report, writer = os.pipe()
        os.set_blocking(self.report, False)
        try:
            for plan in self._plans:
                make_fifo(directory, fifo_name(plan, 0))
            for plan in self._plans:
                self._pids.add(_spawn(plan, directory, writer))
        finally:
            os.close(directory)
            os.close(writer)

    @property
    def failure(self) -> str | None:
        """Why a channel could not be streamed; None while all is well."""
        line, end, _ = self._said.partition(b"\n")
        return line.decode("utf-8", "replace") if end else None

    def read(self) -> bool:
        """Read what feeders report; True if one has failed."""
        while self.report >= 0:
            try:
                data = os.read(self.report, 65536)
            except BlockingIOError:
                break
            self._said += data
            if not data:
                os.close(self.report)
                self.report = -1
        return self.failure is not None

    def forget(self, pid: int) -> None:
        """Note that a process has been reaped: its number may be another's soon."""
        self._pids.discard(pid)

    def close(self) -> None:
        """End the feeders that are left."""
        for pid in self._pids:
            os.kill(pid, _signal.SIGKILL)  # not reaped yet, so it is still this one
            os.waitpid(pid, 0)
        self._pids.clear()
        if self.report >= 0:
            os.close(self.report)
            self.report = -1


def fifo_name(plan: PipePlan, epoch: int) -> str:
    """Return the name of an epoch's FIFO."""
    return f"{plan['channel']}_{epoch}"


def make_fifo(directory: int, name: str) -> None:
    """Make a FIFO that everybody may read: the program's user may differ.

    Raises:
        OSError: It cannot be made.
    """
    before = os.umask(0o022)
    try:
        os.mkfifo(name, 0o644, dir_fd=directory)
    finally:
        os.umask(before)


def _spawn(plan: PipePlan, directory: int, report: int) -> int:
    signals.block()
    parent = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _become(plan, directory, report, parent)
    finally:
        signals.unblock()
    return pid


def _become(plan: PipePlan, directory: int, report: int, parent: int) -> NoReturn:
    """Turn this forked process into a feeder. A stop does not end it: the program may read on."""
    try:
        signals.restore_defaults(ignored=signals.STOP | {_signal.SIGPIPE})
        if sys.platform.startswith("linux"):
            from orchestrator_runtime import native  # noqa: PLC0415

            native.die_with_parent(parent)
        files.close_all_but({0, 1, 2, directory, report})
        feed(plan, directory)
    except (StreamError, OSError) as error:
        text = f"channel {plan['channel']!r} could not be streamed: {error}"
        os.write(report, text.replace("\n", " ").encode("utf-8", "replace")[:4000] + b"\n")
        while True:  # with the FIFO open: its reader must not take this for the end
            _signal.pause()
    finally:
        os._exit(1)


def feed(plan: PipePlan, directory: int) -> NoReturn:
    """Give one epoch after the other, for ever.

    Args:
        plan: The channel.
        directory: Descriptor of the directory of its FIFOs; the first of them is there.

    Raises:
        StreamError: An object cannot be given.
        OSError: The FIFO cannot be used.
    """
    stream = Stream(plan)
    epoch = 0
    while True:
        name = fifo_name(plan, epoch)
        descriptor = _open(directory, name)
        for chunk in stream.epoch(epoch):
            if not _write(descriptor, chunk):
                break
        epoch += 1
        make_fifo(directory, fifo_name(plan, epoch))  # there before the reader sees the end
        os.close(descriptor)
        _remove(directory, name)


def _remove(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        return  # the program was tidy


def _open(directory: int, name: str) -> int:
    """Open a FIFO once its reader is there."""
    descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=directory)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        raise StreamError(f"{name} must be left alone by the program, it is no FIFO any more")
    enlarge_pipe(descriptor)
    return descriptor


def _write(descriptor: int, chunk: bytes) -> bool:
    """Write a chunk; False if the reader has closed its end."""
    try:
        files.write_all(descriptor, chunk)
    except BrokenPipeError:
        return False
    return True

"""Fills the FIFOs of channels in Pipe mode: a process for each channel, which ends with the program.

``<channel>_0`` is there before the program starts. An epoch's FIFO is opened once for reading. When
all of it is written, or its reader has closed it early, the next one's FIFO appears and its own goes.
A feeder runs outside of the sandbox in a directory that the program may change: it follows no link.
"""

from __future__ import annotations

import os
import stat
import sys

from orchestrator_runtime import contract, files, signals, tree
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
        fifos = Fifos(self._ml)
        self.report, writer = os.pipe()
        os.set_blocking(self.report, False)
        try:
            for plan in self._plans:
                fifos.make(fifo_name(plan, 0))
            for plan in self._plans:
                self._pids.add(_spawn(plan, fifos, writer))
        finally:
            fifos.close()
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
        if pid in self._pids:
            self._pids.remove(pid)
            self._was_killed()

    def look(self) -> None:
        """Find feeders that are just ending: they may have closed their FIFO already."""
        if sys.platform.startswith("linux") and any(map(tree.is_ending, self._pids)):
            self._was_killed()

    def _was_killed(self) -> None:
        """Note that a reader has seen an end that is none: no feeder ends by itself."""
        self._said += b"a channel could not be streamed: its feeder was killed\n"

    def close(self) -> None:
        """End the feeders that are left."""
        for pid in self._pids:
            os.kill(pid, _signal.SIGKILL)  # not reaped yet, so it is still this one
        self._pids.clear()
        if self.report >= 0:
            os.close(self.report)
            self.report = -1


def fifo_name(plan: PipePlan, epoch: int) -> str:
    """Return the name of an epoch's FIFO."""
    return f"{plan['channel']}_{epoch}"


class Fifos:
    """FIFOs in ``input/data``, whose directory is opened before the program can put a link there.

    Args:
        ml: The tree.

    Raises:
        OSError: There is no such directory.
    """

    def __init__(self, ml: str) -> None:
        self.directory = files.open_directory(ml, contract.INPUT_DATA)
        self._path = os.path.join(ml, contract.INPUT_DATA)

    def make(self, name: str) -> None:
        """Make a FIFO that everybody may read: the program's user may differ.

        Raises:
            OSError: It cannot be made.
        """
        before = os.umask(0o022)
        try:
            if os.mkfifo in os.supports_dir_fd:
                os.mkfifo(name, 0o644, dir_fd=self.directory)
            else:  # macOS, where no sandbox is either
                os.mkfifo(os.path.join(self._path, name), 0o644)
        finally:
            os.umask(before)

    def open(self, name: str) -> int:
        """Open a FIFO for writing once its reader is there.

        Raises:
            OSError: It cannot be opened.
            StreamError: The program has put something else there.
        """
        descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=self.directory)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise StreamError(f"{name} must be left alone by the program, it is no FIFO any more")
        enlarge_pipe(descriptor)
        return descriptor

    def remove(self, name: str) -> None:
        """Remove a FIFO; a program that was tidy may have done so."""
        try:
            os.unlink(name, dir_fd=self.directory)
        except OSError:
            return

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.directory)


def _spawn(plan: PipePlan, fifos: Fifos, report: int) -> int:
    signals.block()
    parent = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _become(plan, fifos, report, parent)
    finally:
        signals.unblock()
    return pid


def _become(plan: PipePlan, fifos: Fifos, report: int, parent: int) -> NoReturn:
    """Turn this forked process into a feeder. A stop does not end it: the program may read on."""
    try:
        signals.restore_defaults(ignored=signals.STOP | {_signal.SIGPIPE})
        if sys.platform.startswith("linux"):
            from orchestrator_runtime import native  # noqa: PLC0415

            native.die_with_parent(parent)
        files.close_all_but(frozenset({0, 1, 2, fifos.directory, report}))
        feed(plan, fifos)
    except (StreamError, OSError) as error:
        text = f"channel {plan['channel']!r} could not be streamed: {error}"
        os.write(report, text.replace("\n", " ").encode("utf-8", "replace")[:4000] + b"\n")
        while True:  # with the FIFO open: its reader must not take this for the end
            _signal.pause()
    finally:
        os._exit(1)


def feed(plan: PipePlan, fifos: Fifos) -> NoReturn:
    """Give one epoch after the other, for ever.

    Args:
        plan: The channel.
        fifos: Where its FIFOs are; the first of them is there.

    Raises:
        StreamError: An object cannot be given.
        OSError: The FIFO cannot be used.
    """
    stream = Stream(plan)
    epoch = 0
    while True:
        name = fifo_name(plan, epoch)
        descriptor = fifos.open(name)
        for chunk in stream.epoch(epoch):
            if not _write(descriptor, chunk):
                break
        epoch += 1
        fifos.make(fifo_name(plan, epoch))  # there before the reader sees the end
        os.close(descriptor)
        fifos.remove(name)


def _write(descriptor: int, chunk: bytes) -> bool:
    """Write a chunk; False if the reader has closed its end."""
    try:
        files.write_all(descriptor, chunk)
    except BrokenPipeError:
        return False
    return True

"""Signals of the supervisor, turned into bytes on a pipe that its one loop watches."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # the signal package wraps this in enums, which cost 2 ms to import

STOP = frozenset({_signal.SIGTERM, _signal.SIGINT})
_WATCHED = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGCHLD)
_IGNORED = (_signal.SIGHUP, _signal.SIGPIPE, _signal.SIGUSR1, _signal.SIGUSR2, _signal.SIGQUIT)
# What Python or the supervisor ignores must not be ignored by the program.
_RESTORED = (*_WATCHED, *_IGNORED, getattr(_signal, "SIGXFSZ", _signal.SIGPIPE))


def _wake(number: int, frame: object) -> None:
    """Do nothing: the byte on the wake-up pipe is the message."""


class Signals:
    """The wake-up pipe. ``descriptor`` becomes readable when a signal arrived."""

    def __init__(self) -> None:
        self.descriptor, self._writer = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._writer, False)
        _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _WATCHED:
            _signal.signal(number, _wake)
        for number in _IGNORED:
            _signal.signal(number, _signal.SIG_IGN)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())

    def take(self) -> frozenset[int]:
        """Return the numbers of the signals that arrived since the last call."""
        try:
            return frozenset(os.read(self.descriptor, 4096))
        except BlockingIOError:
            return frozenset()


def block() -> None:
    """Hold all signals back, so that none is handled by a half-made child."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())


def unblock() -> None:
    """Let signals through again."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def restore_defaults(ignored: frozenset[int] = frozenset()) -> None:
    """Give a new child the signal state that every program expects. Signals must be blocked.

    Args:
        ignored: What it shall not hear.
    """
    _signal.set_wakeup_fd(-1)
    for number in _RESTORED:
        _signal.signal(number, _signal.SIG_IGN if number in ignored else _signal.SIG_DFL)
    unblock()

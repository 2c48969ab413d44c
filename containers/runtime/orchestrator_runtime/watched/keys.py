"""Signals to this process while a command runs: they are the command's."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEYS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
"""What a terminal sends to a whole process group: the command has it already then."""
MESSAGES = frozenset({signal.SIGUSR1, signal.SIGUSR2})
_WATCHED = (signal.SIGCHLD, signal.SIGTERM, *sorted(KEYS), *sorted(MESSAGES))


def _wake(number: int, frame: object) -> None:
    """Do nothing: the byte on the wake-up pipe is the message."""


class Keys:
    """A pipe of the signals that arrive, until it is closed. Only on the main thread.

    What was ignored when this process started (by ``nohup``) stays so, for the command as well.

    Attributes:
        descriptor: Readable when a signal arrived.
    """

    def __init__(self) -> None:
        self.descriptor, self._writer = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._writer, False)
        self._before: dict[int, Any] = {}
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _WATCHED:
            if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, _wake)

    def take(self) -> list[int]:
        """Return the signals that arrived since the last call, in their order."""
        try:
            return list(os.read(self.descriptor, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self.descriptor)
        os.close(self._writer)


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True

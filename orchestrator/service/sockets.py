"""Unix sockets that lie in the home directory, whose names another process may take over."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SocketName:
    """The name of a bound socket: removed again, but only while it still leads to ours.

    Args:
        path: Where the socket was just bound.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = _identity(path)

    @property
    def is_ours(self) -> bool:
        """Whether the name still leads to this socket."""
        return self._identity is not None and _identity(self._path) == self._identity

    def remove(self) -> None:
        """Remove the name unless another process has put its own socket there."""
        if self.is_ours:
            self._path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def poke(path: Path) -> None:
    """Send an empty datagram to whoever listens at a path; nobody has to."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.sendto(b"", str(path))

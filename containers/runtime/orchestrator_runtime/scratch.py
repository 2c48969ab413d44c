"""The temporary directory of a program that runs without a sandbox."""

from __future__ import annotations

import os
import sys

LONGEST_PATH = 64
"""Programs make sockets below their temporary directory, whose paths may have 103 characters."""


class Scratch:
    """``path`` is what TMPDIR shall be: the directory itself, or a short way to it.

    On Linux that is this process's working directory as /proc shows it: nothing can be left
    over. Elsewhere it is a link, which stays behind if this process is killed.
    """

    def __init__(self, directory: str) -> None:
        """Make the directory, and the link where its path is too long.

        Raises:
            OSError: They cannot be made.
        """
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.path = directory
        self._link: str | None = None
        if len(os.fsencode(directory)) <= LONGEST_PATH:
            return
        if sys.platform.startswith("linux"):
            os.chdir(directory)
            self.path = f"/proc/{os.getpid()}/cwd"
        else:
            self._link = self.path = f"/tmp/orchestrator-{os.urandom(6).hex()}"  # noqa: S108
            os.symlink(directory, self._link)

    def close(self) -> None:
        """Remove the link."""
        if self._link is not None:
            os.unlink(self._link)
            self._link = None

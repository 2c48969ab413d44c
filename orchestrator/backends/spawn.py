"""Starts supervisors as processes that outlive this one.

``posix_spawn`` instead of ``subprocess``: it does not copy this process's page tables (the
service may be large), and letting go of a child that runs on is no mistake here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def spawn_detached(argv: list[str], errors: Path, environment: Mapping[str, str]) -> int:
    """Start a program in its own session and return its process id.

    Args:
        argv: The command; the first word is a path.
        errors: File that its standard output and error are appended to.
        environment: All of its environment.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(errors), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsid=True)


def has_ended(pid: int) -> bool:
    """Return whether a child has ended; one that has is reaped. Children of others count as ended."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True

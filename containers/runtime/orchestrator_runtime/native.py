"""System calls that Python has no name for. Linux only."""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """Call a C function that returns -1 on failure.

    Raises:
        OSError: It failed.
    """
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def die_with_parent(parent: int) -> None:
    """Let this process be killed when its parent ends, even if that happened already."""
    call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if parent and os.getppid() != parent:
        os._exit(_SIGKILL + 128)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends."""
    call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

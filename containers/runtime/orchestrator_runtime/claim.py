"""The claim on a host directory: the fence against a second start, and the test of life.

Who creates ``claim.json`` owns the host directory, for ever: it is never removed. An exclusive
lock on it is held as long as the owner lives, so "locked" means running and "there, but not
locked" means ended. The file appears complete and already locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from orchestrator_runtime import contract, files, jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator_runtime.contract import ClaimRecord


# File systems without hard links: there the claim is seen for a moment before it is locked.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class AlreadyClaimed(Exception):
    """Another supervisor, or a stop before the start, owns this host directory."""


def claim(host_directory: str) -> int:
    """Claim a host directory and return the descriptor that holds the lock.

    The descriptor must stay open for life and must not reach a child.

    Raises:
        AlreadyClaimed: It is claimed; nothing was touched.
        OSError: The directory is missing or cannot be written.
    """
    path = os.path.join(host_directory, contract.CLAIM_FILE)
    if os.path.lexists(path):
        raise AlreadyClaimed(path)
    draft = f"{path}.{os.getpid()}"
    descriptor = _create(draft, host_directory)
    try:
        os.link(draft, path)  # fails where the name is taken: the exclusive creation
    except FileExistsError:
        os.close(descriptor)
        raise AlreadyClaimed(path) from None
    except OSError as error:
        os.close(descriptor)
        if error.errno not in _NO_LINKS:
            raise
        descriptor = _create(path, host_directory)
    finally:
        os.unlink(draft)
    return descriptor


def _create(path: str, host_directory: str) -> int:
    """Create a claim under a name that must be free, lock it and fill it in.

    Raises:
        AlreadyClaimed: The name is taken.
        OSError: It cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise AlreadyClaimed(path) from None
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # a reader may hold it shared for an instant
    files.write_all(descriptor, jsonlite.dumps(_record(host_directory)).encode())
    return descriptor


def _record(host_directory: str) -> ClaimRecord:
    return {
        "pid": os.getpid(),
        "start_time": start_time(os.getpid()),
        "boot_id": boot_id(),
        "host": os.path.basename(os.path.abspath(host_directory)),
        "token": os.urandom(16).hex(),
    }


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; with its pid it is unique."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def boot_id() -> str:
    """Return what identifies this boot of this machine; empty where the system does not say."""
    if sys.platform == "darwin":
        return _darwin_boot_id()
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _darwin_boot_id() -> str:
    import ctypes  # noqa: PLC0415 -- 3 ms that only macOS pays

    buffer = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(buffer))
    libc = ctypes.CDLL(None)
    if libc.sysctlbyname(b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, 0):
        return ""
    return buffer.value.decode("ascii", "replace")

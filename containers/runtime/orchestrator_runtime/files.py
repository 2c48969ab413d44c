"""Small durable files: read whole, written so that a reader never sees half of one."""

from __future__ import annotations

import os

from orchestrator_runtime import jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def read_object(path: str) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds something else.
    """
    with open(path, "rb") as file:
        value = jsonlite.loads(file.read())
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}")  # noqa: TRY004
    return value


def write_object(path: str, value: Mapping[str, Any], *, durable: bool) -> None:
    """Replace a file by a JSON object, atomically.

    Args:
        path: The file.
        value: What it shall hold.
        durable: Whether it must survive a power cut once this returns.

    Raises:
        OSError: It cannot be written; the old file is unharmed.
    """
    new = f"{path}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        write_all(descriptor, jsonlite.dumps(value).encode())
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(new, path)
    if durable:
        sync_directory(os.path.dirname(path) or ".")


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_data(descriptor: int) -> None:
    """Make what was written to a file durable, its size included, its times not."""
    getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has only the dearer one


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_directory(root: str, name: str = "") -> int:
    """Open a directory below ``root`` without following a link in any part of ``name``.

    Raises:
        OSError: It is missing, or one of its parts is no directory.
    """
    directory = os.open(root, _DIRECTORY)
    for part in filter(None, name.split("/")):
        try:
            below = os.open(part, _DIRECTORY, dir_fd=directory)
        finally:
            os.close(directory)
        directory = below
    return directory


def read_head(root: str, name: str, limit: int) -> bytes | None:
    """Return the first bytes of a regular file below ``root`` that a hostile program may have made.

    Links are not followed in any part of ``name``, and FIFOs and devices are not opened.
    None: there is no such file, or it is of another kind.
    """
    parents, _, last = name.rpartition("/")
    try:
        directory = open_directory(root, parents)
    except OSError:
        return None
    try:
        if not _is_regular(last, directory):
            return None
        file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return None
    finally:
        os.close(directory)
    try:
        return os.read(file, limit)
    except OSError:
        return None
    finally:
        os.close(file)


def _is_regular(name: str, directory: int) -> bool:
    mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    return mode & 0o170000 == 0o100000


def close_all_but(kept: frozenset[int]) -> None:
    """Close every descriptor of this process but some."""
    try:
        open_ones = os.listdir("/proc/self/fd")  # a billion could be open
    except OSError:
        _close_ranges(kept)
        return
    for number in map(int, open_ones):
        if number not in kept:
            try:
                os.close(number)
            except OSError:
                continue  # the descriptor of the listing itself


def _close_ranges(kept: frozenset[int]) -> None:
    low = 0
    for number in sorted(kept):
        if low < number:  # CPython takes an empty range that begins at 0 for all descriptors
            os.closerange(low, number)
        low = number + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))

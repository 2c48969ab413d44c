"""Small steps on files that must survive a crash: atomic writes, syncs, cheap copies."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import InputError, LimitExceeded

if sys.platform == "linux":
    import fcntl

    FICLONE = 0x40049409  # linux/fs.h: share the extents of another file (btrfs, xfs)

CHUNK_BYTES = 1024 * 1024
PARTIAL_MARK = ".partial-"
REMOVED_MARK = ".removed-"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a disk or its permissions refuse into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise LimitExceeded(
                f"no space is left to write {path}; free some space (`orchestrator gc`) and retry"
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise InputError(
                f"{path} must be accessible: {error.strerror}; check its permissions"
            ) from error
        if error.errno in {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR}:
            raise InputError(f"{path} cannot be used as a file: {error.strerror}") from error
        raise


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable (a no-op where directories cannot be opened)."""
    if sys.platform == "win32":
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(directory: Path) -> None:
    """Make a directory and its parents; each new name is durable."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    with suppress(FileExistsError):
        directory.mkdir()
    sync_directory(directory.parent)


@contextmanager
def partial_file(target: Path) -> Iterator[Path]:
    """Give a fresh name beside the target, that is gone afterwards whatever happens."""
    partial = target.with_name(f".{PARTIAL_MARK}{secrets.token_hex(8)}")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def sha256_of(stream: BinaryIO) -> str:
    """Return the digest of all that is left to read, as 64 hexadecimal digits."""
    hasher = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        hasher.update(chunk)
    return hasher.hexdigest()


def copy_stream(source: BinaryIO, target: BinaryIO) -> int:
    """Copy from the start of one regular file into another, sharing extents if possible.

    Returns:
        Bytes copied.
    """
    if sys.platform == "linux":
        try:
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
        except OSError:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
    else:
        shutil.copyfileobj(source, target, CHUNK_BYTES)
    target.flush()
    return os.fstat(target.fileno()).st_size


def write_file(target: Path, source: BinaryIO, *, durable: bool, mode: int = 0o644) -> int:
    """Make or replace a file from an open regular file, atomically.

    Returns:
        Its size in bytes.
    """
    with partial_file(target) as partial:
        with partial.open("xb") as stream:
            size = copy_stream(source, stream)
            partial.chmod(mode)
            if durable:
                os.fsync(stream.fileno())
        partial.replace(target)
    if durable:
        sync_directory(target.parent)
    return size


def link_file(source: Path, target: Path) -> bool:
    """Make or replace a file as a second name of another one; False if that cannot be done."""
    with partial_file(target) as partial:
        try:
            os.link(source.resolve(), partial)  # link() itself may not follow a symbolic link
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOSPC}:
                raise
            return False
        partial.replace(target)
    return True


def remove_tree(root: Path) -> None:
    """Remove a directory and all below it, however deep; links are removed, not followed.

    ``shutil.rmtree`` recurses, so that a job could make its own directory irremovable.
    Here every directory found is first moved up to the root, so that no path gets long.
    Idempotent. The programs that wrote there must have ended.
    """
    if not root.is_dir() or root.is_symlink():
        root.unlink(missing_ok=True)
        return
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        directory.chmod(0o700)
        with os.scandir(directory) as entries:
            found = list(entries)
        inner = [entry for entry in found if entry.is_dir(follow_symlinks=False)]
        for entry in found:
            if entry not in inner:
                Path(entry.path).unlink()
        if directory == root:
            waiting.extend(root / entry.name for entry in inner)
            continue
        for entry in inner:
            if not os.access(entry.path, os.W_OK):
                Path(entry.path).chmod(0o700)  # moving a directory writes its `..`
            moved = root / f"{REMOVED_MARK}{secrets.token_hex(8)}"
            Path(entry.path).rename(moved)
            waiting.append(moved)
        directory.rmdir()
    root.rmdir()

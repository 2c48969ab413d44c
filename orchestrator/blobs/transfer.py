"""Moves whole directories to and from any store, several files at a time."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from orchestrator.blobs.base import BlobStore, Selection, Skipped, Transfer
from orchestrator.blobs.keys import (
    MAX_MANIFEST_BYTES,
    ObjectInfo,
    PlannedFile,
    parse_manifest,
    plan_files,
    shard_for_host,
    split_name,
)
from orchestrator.errors import InputError

MAX_DEPTH = 100

T = TypeVar("T")
R = TypeVar("R")


def select_files(store: BlobStore, uri: str, selection: Selection) -> list[PlannedFile]:
    """List a location and decide which objects one host gets, and where they go.

    Raises:
        InputError: Nothing is there, a manifest is malformed, or a name is hostile.
    """
    if selection.data_type == "ManifestFile":
        objects = list(manifest_objects(store, uri))
    else:
        objects = objects_of(store, uri, by_beginning=selection.by_beginning)
    if selection.distribution == "ShardedByS3Key":
        objects = shard_for_host(objects, selection.rank, selection.hosts, selection.seed)
    return plan_files(objects)


def objects_of(store: BlobStore, uri: str, *, by_beginning: bool) -> list[ObjectInfo]:
    """Return the objects at a location, or with ``by_beginning`` those that begin with its name.

    Raises:
        InputError: Nothing is there.
    """
    objects = list(store.list(uri))
    if not objects and by_beginning:
        objects = list(store.list_beginning(uri))
    if not objects and not store.exists(uri):
        raise InputError(
            f"an input location must exist, nothing is at {uri!r}; give an object, a folder, or the "
            "beginning of names in a bucket"
        )
    return objects


def manifest_objects(store: BlobStore, uri: str) -> Iterator[ObjectInfo]:
    """Yield the objects that a ``ManifestFile`` names, in its order.

    Raises:
        InputError: It is malformed, or one of them does not exist.
    """
    with store.open(uri) as stream:
        text = stream.read(MAX_MANIFEST_BYTES + 1)
    prefix, suffixes = parse_manifest(text, uri)
    for suffix in suffixes:
        split_name(suffix.lstrip("/"))

    def look_up(suffix: str) -> ObjectInfo:
        found = store.stat(f"{prefix}{suffix}")
        if found is None:
            raise InputError(
                f"every object of the manifest {uri} must exist, {prefix + suffix!r} does not"
            )
        return replace(found, key=suffix.lstrip("/"))

    yield from each(look_up, suffixes, workers=8)


def download_files(
    store: BlobStore,
    files: Iterable[PlannedFile],
    directory: Path,
    *,
    writable: bool,
    workers: int,
) -> Transfer:
    """Fetch planned files below a directory; the first failure stops the rest."""
    directory.mkdir(parents=True, exist_ok=True)

    def fetch(file: PlannedFile) -> int:
        return store.fetch_to(file.source.uri, directory.joinpath(*file.parts), writable=writable)

    sizes = list(each(fetch, files, workers))
    return Transfer(len(sizes), sum(sizes))


def upload_directory(
    directory: Path, put: Callable[[str, BinaryIO], int], *, workers: int
) -> Transfer:
    """Hand every regular file below a directory to ``put``, with its relative name.

    The walk goes by directory handles and never follows a link, so a program that swaps
    entries meanwhile cannot make it read outside the directory.
    """
    skipped: list[Skipped] = []

    def send(item: tuple[str, BinaryIO]) -> int:
        name, stream = item
        with stream:
            return put(name, stream)

    sizes = list(each(send, open_files(directory, skipped), workers, _close))
    return Transfer(len(sizes), sum(sizes), tuple(skipped))


def _close(item: tuple[str, BinaryIO]) -> None:
    item[1].close()


def open_files(directory: Path, skipped: list[Skipped]) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the relative name and an open handle of each regular file, in order of names.

    Args:
        directory: Where to look.
        skipped: Gets an entry for all that is not a regular file or a directory, that cannot
            be read, or that lies too deep.

    Raises:
        InputError: The directory itself cannot be read.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{directory} must be a readable directory: {error.strerror}") from None
    yield from _walk(handle, "", skipped, MAX_DEPTH)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a link is refused, not followed.

    Raises:
        InputError: It is missing, something else, or may not be read.
    """
    try:
        opened = _open_entry(None, str(path))
    except OSError as error:
        raise InputError(f"{path} must be a readable file: {error.strerror}") from None
    if isinstance(opened, int):
        os.close(opened)
        opened = "directory"
    if isinstance(opened, str):
        raise InputError(f"{path} must be a regular file, it is a {opened}")
    return opened


def open_below(directory: Path, name: str) -> BinaryIO:
    """Open a regular file below a directory for reading; a link anywhere in its name is refused.

    Args:
        directory: Trusted, as is the way to it.
        name: Relative, with ``/`` between its parts; each of them may be swapped meanwhile.

    Raises:
        OSError: It is missing, may not be read, or something else is in its place.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    *parents, last = name.split("/")
    handle = os.open(directory, flags & ~os.O_NOFOLLOW)
    try:
        for part in parents:
            inner = os.open(part, flags, dir_fd=handle)
            os.close(handle)
            handle = inner
        opened = _open_entry(handle, last)
    finally:
        os.close(handle)
    if isinstance(opened, int):
        os.close(opened)
        opened = "directory"
    if isinstance(opened, str):
        raise OSError(errno.EINVAL, f"it is a {opened}")
    return opened


def _walk(
    handle: int, inside: str, skipped: list[Skipped], depth: int
) -> Iterator[tuple[str, BinaryIO]]:
    """Walk one open directory, and close it."""
    try:
        for name in sorted(os.listdir(handle)):
            label = inside + name
            try:
                opened = _open_entry(handle, name)
            except OSError as error:
                skipped.append(Skipped(label, error.strerror or type(error).__name__))
                continue
            if isinstance(opened, str):
                skipped.append(Skipped(label, opened))
            elif not isinstance(opened, int):
                yield label, opened
            elif depth == 0:
                os.close(opened)
                skipped.append(Skipped(label, f"nested deeper than {MAX_DEPTH} directories"))
            else:
                yield from _walk(opened, f"{label}/", skipped, depth - 1)
    finally:
        os.close(handle)


def _open_entry(handle: int | None, name: str) -> BinaryIO | int | str:
    """Open a regular file (a stream) or a directory (a descriptor); a string says why not.

    What was opened decides, not what was looked at: the entry may be swapped in between.
    """
    mode = os.lstat(name, dir_fd=handle).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kinds = {stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
        return kinds.get(stat.S_IFMT(mode), "device")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=handle)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        return descriptor
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return "changed while it was looked at"


def each(
    work: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    discard: Callable[[T], object] = id,
) -> Iterator[R]:
    """Yield ``work`` of each item, in order, with few items taken ahead of time.

    After the first failure no further item is started, and ``discard`` gets those that were
    taken for nothing.
    """
    pending: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="blobs") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(work, item)))
                if len(pending) >= 2 * workers:
                    yield pending.popleft()[1].result()
            while pending:
                yield pending.popleft()[1].result()
        finally:
            for item, future in pending:
                if future.cancel():
                    discard(item)

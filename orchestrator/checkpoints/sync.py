"""Restores a directory from a location before a job and keeps the location up to date after."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.blobs.keys import split_name
from orchestrator.blobs.transfer import MAX_DEPTH, each, open_below
from orchestrator.checkpoints.manifest import FileState, Listing, plan
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.blobs.base import BlobStore

UPLOADS_AT_A_TIME = 8

logger = logging.getLogger(__name__)


class DirectorySync:
    """One directory and its location.

    What was uploaded is remembered in a file, so that a restart uploads nothing twice. Calls for
    one directory, also of several processes, wait for each other: a slow upload of an old file
    must not end after that of a new one.

    Args:
        directory: On this machine.
        uri: Prefix in an object store.
        blobs: The store.
        memory: JSON file that remembers what was uploaded.
    """

    def __init__(self, directory: Path, uri: str, blobs: BlobStore, memory: Path) -> None:
        self._directory = directory
        self._uri = uri.rstrip("/")
        self._blobs = blobs
        self._memory = memory

    def restore(self) -> int:
        """Fetch what the location has; return the number of files.

        All of it appears at once: a program never starts from a part. A directory that has
        files already is newer than the location and left alone.

        Raises:
            Unavailable: The location does not answer; the next call goes on.
        """
        with self._alone():
            self._directory.mkdir(parents=True, exist_ok=True)
            if any(self._directory.iterdir()) or not self._blobs.exists(self._uri):
                return 0
            arriving = self._directory.with_name(f".{self._directory.name}.arriving")
            fetched = self._blobs.download(self._uri, arriving)
            now = listing(arriving)
            self._remember(now, now)
            arriving.replace(self._directory)
            return fetched.files

    def push(self, *, final: bool) -> int:
        """Upload what changed and delete what is gone; return the number of uploads.

        Files that vanish meanwhile, and those that cannot be objects, are left out.

        Args:
            final: Nobody writes any more: take also what changed just now.

        Raises:
            Unavailable: The location does not answer; the next call does the rest.
        """
        with self._alone():
            before, stored = self._recall()
            now = listing(self._directory)
            todo = plan(before, now, stored, final=final)
            done = dict(stored)
            try:
                uploaded = self._upload(todo.upload, now, done)
                for name in todo.delete:
                    self._blobs.delete(f"{self._uri}/{name}")
                    done.pop(name, None)
            finally:
                if done != stored or now != before:
                    self._remember(now, done)
            return uploaded

    def _upload(self, names: tuple[str, ...], now: Listing, done: dict[str, FileState]) -> int:
        count = 0
        for name, sent in each(self._send, names, UPLOADS_AT_A_TIME):
            if sent:
                done[name] = now[name]
                count += 1
        return count

    def _send(self, name: str) -> tuple[str, bool]:
        """Upload one file; return whether that was possible."""
        try:
            name.encode()
            split_name(name)
            stream = open_below(self._directory, name)
        except FileNotFoundError:
            return name, False  # removed meanwhile, as programs do that keep the last few
        except (UnicodeEncodeError, InputError, OSError) as error:
            logger.warning("%r of %s is not kept: %s", name, self._directory, error)
            return name, False
        with stream:
            self._blobs.store_file(stream, f"{self._uri}/{name}")
        return name, True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other call for this directory is under way."""
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        with self._memory.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _recall(self) -> tuple[Listing, Listing]:
        try:
            saved = json.loads(self._memory.read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}, {}
        return _decoded(saved["seen"]), _decoded(saved["stored"])

    def _remember(self, seen: Listing, stored: Listing) -> None:
        temporary = self._memory.with_name(f".{self._memory.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"seen": seen, "stored": stored}), encoding="utf-8")
        temporary.replace(self._memory)


def listing(directory: Path) -> dict[str, FileState]:
    """Return all regular files below a directory, down to ``MAX_DEPTH``; links are not followed."""
    found: dict[str, FileState] = {}
    pending = [("", 0)]
    while pending:
        inside, depth = pending.pop()
        for name, info in _entries(directory / inside):
            if stat.S_ISREG(info.st_mode):
                found[inside + name] = FileState(info.st_size, info.st_mtime_ns)
            elif stat.S_ISDIR(info.st_mode) and depth < MAX_DEPTH:
                pending.append((f"{inside}{name}/", depth + 1))
    return found


def _entries(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what is in a directory; what is removed while we look, or unreadable, is left out."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        try:
            info = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        yield entry.name, info


def _decoded(saved: dict[str, list[int]]) -> Listing:
    return {name: FileState(*state) for name, state in saved.items()}

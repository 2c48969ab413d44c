"""Restores a directory from a location before a job and keeps the location up to date after."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.checkpoints.manifest import FileState, Listing, plan

if TYPE_CHECKING:
    from orchestrator.blobs.base import BlobStore


class DirectorySync:
    """One directory and its location.

    What was uploaded is remembered in a file, so that a restart uploads nothing twice.

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

        A directory that has files already is newer than the location and left alone.

        Raises:
            Unavailable: The location does not answer.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        if any(self._directory.iterdir()) or not self._blobs.exists(self._uri):
            return 0
        fetched = self._blobs.download(self._uri, self._directory)
        now = listing(self._directory)
        self._remember(now, now)
        return fetched.files

    def push(self, *, final: bool) -> int:
        """Upload what changed and delete what is gone; return the number of uploads.

        Args:
            final: Nobody writes any more: take also what changed just now.

        Raises:
            Unavailable: The location does not answer; the next call does it again.
        """
        before, stored = self._recall()
        now = listing(self._directory)
        todo = plan(before, now, stored, final=final)
        done = dict(stored)
        for name in todo.upload:
            self._blobs.upload(self._directory / name, f"{self._uri}/{name}")
            done[name] = now[name]
        for name in todo.delete:
            self._blobs.delete(f"{self._uri}/{name}")
            done.pop(name, None)
        if todo.upload or todo.delete or now != before:
            self._remember(now, done)
        return len(todo.upload)

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
    """Return all regular files below a directory; links are not followed."""
    found: dict[str, FileState] = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            try:
                info = path.lstat()
            except FileNotFoundError:
                continue  # removed while we looked
            if stat.S_ISREG(info.st_mode):
                relative = path.relative_to(directory).as_posix()
                found[relative] = FileState(info.st_size, info.st_mtime_ns)
    return found


def _decoded(saved: dict[str, list[int]]) -> Listing:
    return {name: FileState(*state) for name, state in saved.items()}

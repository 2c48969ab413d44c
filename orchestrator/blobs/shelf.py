"""Files that are named by what is in them, and those on their way to be."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.blobs.files import PARTIAL_MARK, disk_errors, make_directory, sync_directory

if sys.platform != "win32":
    import fcntl

SHA256 = "sha256"
"""Kind of files that are named by the SHA-256 of their bytes."""
TREE = "tree"
"""Kind of files that are named by the SHA-256 of the SHA-256 of their parts."""
KINDS = (SHA256, TREE)
INCOMING = "incoming"


class Shelf:
    """``root/<kind>/ab/<name>``, read-only; ``root/incoming`` holds what is being written.

    Args:
        root: Its directories are made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: str, name: str) -> Path:
        """Return where a file of a kind lies."""
        return self.root / kind / name[:2] / name

    def incoming(self, name: str = "") -> Path:
        """Return a path for a file to write; the same one for the same name."""
        directory = self.root / INCOMING
        make_directory(directory)
        return directory / (name or f".{PARTIAL_MARK}{secrets.token_hex(16)}")

    def keep(self, partial: Path, kind: str, name: str, *, link: bool = False) -> Path:
        """Give a written and synced file its name; durable when it returns.

        Content that is there already becomes young again, so that no collection that began
        before takes it.

        Args:
            partial: The file; nobody writes to it any more.
            kind: What its name says.
            name: Its name.
            link: It keeps its present name, too.
        """
        target = self.path(kind, name)
        with disk_errors(target), self.lock(exclusive=False):
            make_directory(target.parent)
            if target.exists() and target.stat().st_size == partial.stat().st_size:
                os.utime(target)
                if not link:
                    partial.unlink()
            elif link:
                partial.chmod(0o444)
                target.hardlink_to(partial)
            else:
                partial.chmod(0o444)
                partial.replace(target)
            sync_directory(target.parent)
        return target

    def unreferenced(self, referenced: Collection[str], *, older_than: float) -> Iterator[Path]:
        """Yield old files that nothing refers to, and what crashed writers left.

        Args:
            referenced: Names to keep.
            older_than: Epoch seconds. What was written later is kept, because the row that will
                name it may not be written yet.
        """
        places = [(self.root / kind, "??/*") for kind in KINDS]
        places.append((self.root / INCOMING, "*"))
        for directory, pattern in places:
            for path in sorted(directory.glob(pattern)):
                if path.name not in referenced and path.lstat().st_mtime < older_than:
                    yield path

    def gc(self, referenced: Collection[str], *, older_than: float) -> int:
        """Remove what ``unreferenced`` yields; return the bytes set free."""
        freed = 0
        with self.lock(exclusive=True):
            for path in self.unreferenced(referenced, older_than=older_than):
                freed += path.lstat().st_size
                path.unlink()
        return freed

    @contextmanager
    def lock(self, *, exclusive: bool) -> Iterator[None]:
        """Keep a collection and writers apart; writers do not wait for each other."""
        directory = self.root / SHA256
        make_directory(directory)
        if sys.platform == "win32":
            yield
            return
        handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(handle)

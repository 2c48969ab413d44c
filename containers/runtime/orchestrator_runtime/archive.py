"""Packs what a program left in a directory: an archive, or a plain copy.

The stream is gzip in several members: what does not compress (model weights) is stored, which
is fifty times faster, and the rest is compressed at level 1. Every gzip reader joins members.
"""

from __future__ import annotations

import os
import zlib

from orchestrator_runtime import files, tarheader, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from orchestrator_runtime.contract import ArtifactRecord

BLOCK = 1 << 20
SAMPLE = 1 << 16
STORED, COMPRESSED = 0, 1
SYNCED_ONE_BY_ONE = 1000
"""Of more files than this, the whole machine's are synced at once."""
SHRUNK = "became shorter while it was packed; zeros follow"
WORTH_RATIO = 0.85
"""A file whose sample shrinks to less than this is compressed."""
_GZIP = 31  # zlib's window bits for a gzip header
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class GzipStream:
    """Writes gzip members, one per run of data of one level."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._level: int | None = None
        self._member: Any = None

    def write(self, data: bytes, level: int) -> None:
        """Add data at a level."""
        if level != self._level:
            self.end_member()
            self._level, self._member = level, zlib.compressobj(level, wbits=_GZIP)
        files.write_all(self._descriptor, self._member.compress(data))

    def end_member(self) -> None:
        """Write what the current member holds back."""
        if self._member is not None:
            files.write_all(self._descriptor, self._member.flush())
            self._level = self._member = None


class Packer:
    """Packs one directory.

    Args:
        root: The /opt/ml tree, as the supervisor sees it.
        name: The directory in it.
        base: The tree as the program saw it.
        only: Of what lies in it, only these names; None = everything.
    """

    def __init__(
        self, root: str, name: str, base: str, only: Collection[str] | None = None
    ) -> None:
        self._base = f"{base}/{name}"
        self._walk = walk.Walk(root, name, only)
        self._files = 0
        self._any = False

    def archive(self, target: str) -> int:
        """Write a tar.gz and return its size in bytes; nothing is left where nothing was found.

        Raises:
            OSError: It cannot be written.
        """
        draft = f"{target}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            stream = GzipStream(descriptor)
            for entry in self._walk:
                self._any = True
                self._add(stream, entry)
            stream.write(tarheader.END, COMPRESSED)
            stream.end_member()
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
        except OSError:
            os.unlink(draft)
            raise
        finally:
            os.close(descriptor)
        if self._empty:
            os.unlink(draft)
            return 0
        os.replace(draft, target)
        files.sync_directory(os.path.dirname(target))
        return size

    def copy(self, target: str) -> int:
        """Write a plain copy (hard links where possible) and return its size in bytes.

        Raises:
            OSError: It cannot be written.
        """
        draft = f"{target}.new"
        os.mkdir(draft)
        size = 0
        for entry in self._walk:
            self._any = True
            size += self._copy_entry(entry, os.path.join(draft, entry.path))
        if self._empty:
            os.rmdir(draft)
            return 0
        if self._files > SYNCED_ONE_BY_ONE:
            os.sync()
        os.rename(draft, target)
        files.sync_directory(os.path.dirname(target))
        return size

    @property
    def _empty(self) -> bool:
        return not self._any and not self._walk.skipped_count

    def record(self, path: str, size: int) -> ArtifactRecord | None:
        """Return what was packed, None if the directory was empty."""
        if self._empty:
            return None
        skipped = list(self._walk.skipped)
        more = self._walk.skipped_count - len(skipped)
        if more:
            skipped.append(f"and {more} more")
        return {"path": path, "bytes": size, "files": self._files, "skipped": skipped}

    def _add(self, stream: GzipStream, entry: walk.Entry) -> None:
        if entry.kind == walk.REGULAR:
            self._add_file(stream, entry)
        elif entry.kind == walk.DIRECTORY:
            head = tarheader.header(tarheader.DIRECTORY, entry.path, entry.stat)
            stream.write(head, COMPRESSED)
        else:
            target = self._link_target(entry)
            if target is not None:
                head = tarheader.header(tarheader.LINK, entry.path, entry.stat, link=target)
                stream.write(head, COMPRESSED)
                self._files += 1

    def _add_file(self, stream: GzipStream, entry: walk.Entry) -> None:
        source = self._open(entry)
        if source < 0:
            return
        try:
            size = os.fstat(source).st_size
            head = tarheader.header(tarheader.REGULAR, entry.path, entry.stat, size)
            padding = bytes(-size % tarheader.BLOCK_BYTES)
            if size <= SAMPLE:
                content = os.read(source, size)
                if len(content) < size:
                    self._walk.skip(entry.path, SHRUNK)
                stream.write(head + content.ljust(size, b"\0") + padding, COMPRESSED)
            else:
                stream.write(head, COMPRESSED)
                self._stream(stream, entry, source, size)
                stream.write(padding, COMPRESSED)
            self._files += 1
        finally:
            os.close(source)

    def _stream(self, stream: GzipStream, entry: walk.Entry, source: int, size: int) -> None:
        level = level_for(source, size)
        left = size
        while left:
            block = os.read(source, min(BLOCK, left))
            if not block:
                self._walk.skip(entry.path, SHRUNK)
                break
            stream.write(block, level)
            left -= len(block)
        while left:
            block = bytes(min(BLOCK, left))
            stream.write(block, COMPRESSED)
            left -= len(block)

    def _open(self, entry: walk.Entry) -> int:
        try:
            source = os.open(entry.name, _READ, dir_fd=entry.directory)
        except OSError as error:
            self._walk.skip(entry.path, error.strerror or "unreadable")
            return -1
        if os.fstat(source).st_mode & 0o170000 == walk.REGULAR:
            return source
        os.close(source)
        self._walk.skip(entry.path, "changed its kind while it was packed")
        return -1

    def _link_target(self, entry: walk.Entry) -> str | None:
        try:
            target = os.readlink(entry.name, dir_fd=entry.directory)
        except OSError as error:
            self._walk.skip(entry.path, error.strerror or "unreadable")
            return None
        safe = walk.safe_link(entry.path, target, self._base)
        if safe is None:
            self._walk.skip(entry.path, f"link to {target}, outside of the directory")
        return safe

    def _copy_entry(self, entry: walk.Entry, target: str) -> int:
        try:
            if entry.kind == walk.DIRECTORY:
                os.mkdir(target)
                return 0
            if entry.kind == walk.LINK:
                link = self._link_target(entry)
                if link is not None:
                    os.symlink(link, target)
                    self._files += 1
                return 0
        except OSError as error:
            self._refuse_full_disk(entry, error)
            return 0
        return self._copy_file(entry, target)

    def _copy_file(self, entry: walk.Entry, target: str) -> int:
        source = self._open(entry)
        if source < 0:
            return 0
        try:
            _duplicate(source, entry, target)
            if self._files < SYNCED_ONE_BY_ONE:
                os.fsync(source)
        except OSError as error:
            self._refuse_full_disk(entry, error)
            return 0
        finally:
            os.close(source)
        self._files += 1
        return entry.stat.st_size

    def _refuse_full_disk(self, entry: walk.Entry, error: OSError) -> None:
        """Pass over what one name is to blame for (too long, say); nothing else."""
        if error.errno not in _NAME_ERRORS:
            raise error
        self._walk.skip(entry.path, error.strerror or "cannot be copied")


_NAME_ERRORS = frozenset({2, 36, 63})  # missing parent, name too long (Linux, macOS)


def _duplicate(source: int, entry: walk.Entry, target: str) -> None:
    try:
        os.link(entry.name, target, src_dir_fd=entry.directory, follow_symlinks=False)
    except OSError:  # another file system, or one without hard links
        mode = entry.stat.st_mode & 0o777
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            while True:
                block = os.read(source, BLOCK)
                if not block:
                    break
                files.write_all(copy, block)
            os.fsync(copy)
        finally:
            os.close(copy)


def level_for(source: int, size: int) -> int:
    """Choose by a sample from the middle whether a file is worth compressing."""
    sample = os.pread(source, SAMPLE, size // 2)
    if not sample or len(zlib.compress(sample, 1)) < len(sample) * WORTH_RATIO:
        return COMPRESSED
    return STORED

"""Unpacks, checks and merges archives that may be hostile; see ``tar_reader`` for the rules.

Files are made relative to open directory handles, so that nothing is written outside the target.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.blobs.files import disk_errors, partial_file, remove_tree, sync_directory
from orchestrator.errors import InputError, InvalidSpec
from orchestrator.packaging.tar_reader import (
    BLOCK,
    MODEL_LIMITS,
    SOURCE_LIMITS,
    ArchiveLimits,
    ArchiveReader,
    Member,
    header_of,
)

SAMPLE_BYTES = 64 * 1024
WORTH_RATIO = 0.85
"""A file whose first bytes shrink to less than this is compressed in a merged archive."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was unpacked."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Clash:
    """A file that two archives both have; the first one's was taken."""

    name: str
    kept: int
    """Index of the archive whose file was taken."""
    dropped: int


@dataclass(frozen=True, slots=True)
class Merged:
    """What was merged into one archive."""

    files: int
    size_bytes: int
    clashes: tuple[Clash, ...]


def extract_archive(
    archive: Path, target: Path, *, limits: ArchiveLimits = SOURCE_LIMITS
) -> Extracted:
    """Unpack an archive into a new directory, all or nothing.

    Files get mode 644 or 755, the time of now and the present user.

    Args:
        archive: A tar or tar.gz file.
        target: The directory to make; its parent must exist, it must not.
        limits: Caps.

    Raises:
        InputError: The archive is missing, damaged, hostile or too large. Nothing is left.
        InvalidSpec: The target exists.
        LimitExceeded: No space is left.
    """
    if target.exists():
        raise InvalidSpec(f"an archive must be unpacked into a new directory, {target} exists")
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
    with disk_errors(target), _opened(archive) as stream:
        partial.mkdir()
        try:
            reader = ArchiveReader(stream, f"archive {archive.name}", limits)
            result = _Extraction(reader, partial).run()
            partial.rename(target)
        except BaseException:
            remove_tree(partial)
            raise
    return result


class _Extraction:
    """Writes the members of one archive below one open directory."""

    def __init__(self, reader: ArchiveReader, root: Path) -> None:
        self._reader = reader
        self._handles = [os.open(root, _DIRECTORY)]
        self._path: tuple[str, ...] = ()
        self._files = 0
        self._bytes = 0

    def run(self) -> Extracted:
        try:
            for member in self._reader.members():
                self._write(member)
        finally:
            for handle in self._handles:
                os.close(handle)
        return Extracted(self._files, self._bytes)

    def _write(self, member: Member) -> None:
        if member.is_directory:
            self._enter(member.parts, member)
            return
        self._enter(member.parts[:-1], member)
        if member.link is not None:
            self._write_link(member)
            return
        try:
            handle = os.open(member.parts[-1], _NEW_FILE, 0o600, dir_fd=self._handles[-1])
        except FileExistsError:
            raise self._reader.refuse(f"must have each member once, not {member.name!r}") from None
        with os.fdopen(handle, "wb") as stream:
            for chunk in self._reader.chunks():
                stream.write(chunk)
            os.fchmod(handle, 0o755 if member.executable else 0o644)
        self._files += 1
        self._bytes += member.size

    def _write_link(self, member: Member) -> None:
        """Make a link; nothing is ever written through it, since none is followed."""
        assert member.link is not None
        try:
            os.symlink(member.link, member.parts[-1], dir_fd=self._handles[-1])
        except FileExistsError:
            raise self._reader.refuse(f"must have each member once, not {member.name!r}") from None
        self._files += 1

    def _enter(self, parts: tuple[str, ...], member: Member) -> None:
        """Make the innermost handle that of a directory, which is made if missing."""
        common = 0
        while common < min(len(parts), len(self._path)) and parts[common] == self._path[common]:
            common += 1
        while len(self._handles) > common + 1:
            os.close(self._handles.pop())
        self._path = parts[:common]
        for part in parts[common:]:
            try:
                os.mkdir(part, dir_fd=self._handles[-1])
                is_new = True
            except FileExistsError:
                is_new = False
            try:
                handle = os.open(part, _DIRECTORY, dir_fd=self._handles[-1])
            except OSError as error:
                if error.errno not in {errno.ENOTDIR, errno.ELOOP}:  # a file, or a link
                    raise
                raise self._reader.refuse(f"must not have {member.name!r} below a file") from None
            self._handles.append(handle)
            if is_new:
                os.fchmod(handle, 0o755)
            self._path += (part,)


_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


def check_archive(
    stream: BinaryIO, label: str, limits: ArchiveLimits = SOURCE_LIMITS
) -> list[str]:
    """Read a whole archive without unpacking it and return the names of its files.

    Raises:
        InputError: It is damaged, hostile or too large.
    """
    reader = ArchiveReader(stream, label, limits)
    seen = _Names()
    for member in reader.members():
        if seen.clash(member) is not None:
            raise reader.refuse(f"must have each member once, not {member.name!r}")
        seen.add(member, 0)
    return seen.files()


def tar_digest(stream: BinaryIO, label: str, limits: ArchiveLimits = SOURCE_LIMITS) -> str:
    """Return the digest of what is in an archive, however it is compressed.

    For an archive made by ``pack_source`` this is its ``content_digest``.

    Raises:
        InputError: It is damaged, hostile or too large.
    """
    reader = ArchiveReader(stream, label, limits)
    hasher = hashlib.sha256()
    length = 0
    for member in reader.members():
        header = header_of(member).tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        padding = b"\0" * (-member.size % BLOCK)
        for chunk in (header, *reader.chunks(), padding):
            hasher.update(chunk)
            length += len(chunk)
    length += 2 * BLOCK
    hasher.update(b"\0" * (2 * BLOCK + -length % tarfile.RECORDSIZE))
    return hasher.hexdigest()


def merge_archives(
    archives: Sequence[Path], target: Path, *, limits: ArchiveLimits = MODEL_LIMITS
) -> Merged:
    """Merge the archives of several hosts into one tar.gz, atomically and durably.

    Where two hosts have the same file, or one has a file where the other has a directory, that
    of the first host is taken.

    Args:
        archives: In the order of ranks.
        target: The file to make or replace.
        limits: Caps, on each archive.

    Raises:
        InputError: An archive is missing, damaged or hostile. The target is not changed.
        LimitExceeded: No space is left.
    """
    seen = _Names()
    clashes: list[Clash] = []
    with disk_errors(target), partial_file(target) as partial:
        with partial.open("xb") as raw:
            packed = _GzipRuns(raw)
            for index, archive in enumerate(archives):
                with _opened(archive) as stream:
                    reader = ArchiveReader(stream, f"archive {archive}", limits)
                    clashes += _append(reader, packed, seen, index)
            packed.write(b"\0" * (2 * BLOCK))
            packed.finish()
            raw.flush()
            partial.chmod(0o644)
            os.fsync(raw.fileno())
        partial.replace(target)
        sync_directory(target.parent)
    return Merged(len(seen.files()), target.stat().st_size, tuple(clashes))


class _GzipRuns:
    """Writes gzip members: what does not compress, such as weights, is stored, for speed."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._level = 1
        self._member = zlib.compressobj(self._level, wbits=31)

    def write(self, data: bytes) -> None:
        self._raw.write(self._member.compress(data))

    def choose_level(self, sample: bytes) -> None:
        """Store or compress what follows, whose first bytes are given."""
        sample = sample[:SAMPLE_BYTES]
        level = 1 if len(zlib.compress(sample, 1)) < WORTH_RATIO * len(sample) else 0
        if level != self._level:
            self.finish()
            self._level, self._member = level, zlib.compressobj(level, wbits=31)

    def finish(self) -> None:
        self._raw.write(self._member.flush())


def _append(reader: ArchiveReader, packed: _GzipRuns, seen: _Names, index: int) -> Iterator[Clash]:
    """Copy the members that are new; yield those that are not."""
    for member in reader.members():
        owner = seen.clash(member)
        if owner == index:
            raise reader.refuse(f"must have each member once, not {member.name!r}")
        if owner is not None:
            yield Clash(member.name, owner, index)
            continue
        if not seen.add(member, index):
            continue
        packed.write(header_of(member).tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        for number, chunk in enumerate(reader.chunks()):
            if number == 0 and len(chunk) >= SAMPLE_BYTES:
                packed.choose_level(chunk)
            packed.write(chunk)
        packed.write(b"\0" * (-member.size % BLOCK))


class _Names:
    """The names seen so far, and which archive they came from."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, ...], int] = {}
        self._directories: dict[tuple[str, ...], int] = {}

    def clash(self, member: Member) -> int | None:
        """Return the archive that owns what stands in the way of a member, if any does."""
        for n in range(1, len(member.parts) + (1 if member.is_directory else 0)):
            if (owner := self._files.get(member.parts[:n])) is not None:
                return owner
        if member.is_directory:
            return None
        owner = self._files.get(member.parts)
        return self._directories.get(member.parts) if owner is None else owner

    def add(self, member: Member, index: int) -> bool:
        """Note a member; False for a directory that is there already."""
        for n in range(1, len(member.parts)):
            self._directories.setdefault(member.parts[:n], index)
        if not member.is_directory:
            self._files[member.parts] = index
            return True
        new = member.parts not in self._directories
        self._directories.setdefault(member.parts, index)
        return new

    def files(self) -> list[str]:
        return sorted("/".join(parts) for parts in self._files)


@contextmanager
def _opened(archive: Path) -> Iterator[BinaryIO]:
    try:
        stream = archive.open("rb")
    except FileNotFoundError:
        raise InputError(f"an archive must exist, {archive} does not") from None
    with stream:
        yield stream

"""Packs a script or a source directory into a tar.gz that depends on nothing but its content.

Order, times, owners and modes are fixed, so the same files give the same digest on the same
machine, and the same content digest (of what is inside the compression) on every machine.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import InvalidSpec, LimitExceeded
from orchestrator.packaging.ignore import IGNORE_FILE, Matcher, ignore_matcher
from orchestrator.packaging.tar_reader import FIXED_TIME

CHUNK_BYTES = 1024 * 1024
MAX_DEPTH = 100
READS = 3


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Caps on a source directory; data belongs into input channels."""

    max_bytes: int = 512 * 1024 * 1024
    max_files: int = 20_000


DEFAULT_LIMITS = SourceLimits()


@dataclass(frozen=True, slots=True)
class PackedSource:
    """What was packed."""

    digest: str
    """SHA-256 of the archive as written, 64 hexadecimal digits."""
    content_digest: str
    """SHA-256 of the uncompressed archive: the same wherever the same files are packed."""
    size_bytes: int
    """Size of the archive."""
    content_bytes: int
    """Size of the files in it."""
    files: tuple[str, ...]
    """Names of the files in it, sorted."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str  # with / between parts
    path: Path
    is_directory: bool
    size: int
    executable: bool


def pack_source(
    source: Path,
    into: BinaryIO,
    *,
    ignore_patterns: Sequence[str] | None = None,
    limits: SourceLimits = DEFAULT_LIMITS,
) -> PackedSource:
    """Pack a directory's content, or one file, as a tar.gz.

    Links to files and directories inside the source are packed as what they point to.

    Args:
        source: Directory or single file.
        into: Where the archive is written to, from its present position on.
        ignore_patterns: Replaces the default ignore patterns; ``.orchestratorignore`` adds.
        limits: Caps on the content.

    Raises:
        InvalidSpec: The source is missing or unreadable, a link leaves it, an entry is not a
            file, or a file kept changing while it was read.
        LimitExceeded: The content is too large; the message names the largest entries.
    """
    entries = list_source(source, ignore_patterns=ignore_patterns, limits=limits)
    writer = _GzipHasher(into)
    with tarfile.open(fileobj=writer, mode="w", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        content_bytes = sum(_add(archive, entry) for entry in entries)
    writer.finish()
    files = tuple(entry.name for entry in entries if not entry.is_directory)
    return PackedSource(
        writer.outer.hexdigest(), writer.inner.hexdigest(), writer.size, content_bytes, files
    )


def list_source(
    source: Path,
    *,
    ignore_patterns: Sequence[str] | None = None,
    limits: SourceLimits = DEFAULT_LIMITS,
) -> list[_Entry]:
    """Return what ``pack_source`` would pack, in order of names; raises the same."""
    try:
        found = source.stat()
    except OSError as error:
        raise InvalidSpec(
            f"the source must exist and be readable, {source} is not: {error.strerror}; "
            "check the path"
        ) from None
    if stat.S_ISDIR(found.st_mode):
        scan = _Scan(source, ignore_matcher(source, ignore_patterns), limits)
        entries = sorted(scan.entries(), key=lambda entry: entry.name)
    else:
        entries = [_file_entry(source.name, source, found)]
    _check_limits(source, entries, limits)
    return entries


class _Scan:
    """One walk over a source directory."""

    def __init__(self, root: Path, ignored: Matcher, limits: SourceLimits) -> None:
        self._root = root
        self._real_root = root.resolve()
        self._ignored = ignored
        self._limits = limits
        self._seen = 0

    def entries(self) -> Iterator[_Entry]:
        """Yield all that is not ignored, in no particular order."""
        yield from self._directory(self._root, "", (self._real_root,))

    def _directory(
        self, directory: Path, inside: str, above: tuple[Path, ...]
    ) -> Iterator[_Entry]:
        try:
            with os.scandir(directory) as found:
                children = list(found)
        except OSError as error:
            raise InvalidSpec(
                f"the source must be readable, {directory} is not: {error.strerror}; "
                f"fix its permissions or name it in {IGNORE_FILE}"
            ) from None
        for child in children:
            name = inside + child.name
            path = Path(child.path)
            is_link = child.is_symlink()
            is_directory = _is_directory(child)
            if self._ignored(name, is_directory):
                continue
            self._count(name)
            real = self._inside(path, name) if is_link else above[-1] / child.name
            if not is_directory:
                yield _file_entry(name, real if is_link else path, _stat(real, name))
            elif real in above or len(above) > MAX_DEPTH:
                raise InvalidSpec(
                    f"links must not form a circle and directories must nest at most {MAX_DEPTH} "
                    f"deep, `{name}` breaks that; remove it or name it in {IGNORE_FILE}"
                )
            else:
                yield _Entry(name, path, is_directory=True, size=0, executable=True)
                yield from self._directory(path, f"{name}/", (*above, real))

    def _count(self, name: str) -> None:
        self._seen += 1
        if self._seen > 2 * self._limits.max_files + 100:  # directories count, too
            raise LimitExceeded(
                f"a source must have at most {self._limits.max_files} files, {self._root} has "
                f"more (stopped at `{name}`); name data in {IGNORE_FILE} and pass it as an input "
                "channel"
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InvalidSpec(
                f"file names of a source must be UTF-8, {name!r} is not; rename the file"
            ) from None

    def _inside(self, link: Path, name: str) -> Path:
        """Return what a link points to, which must lie inside the source."""
        real = Path(os.path.realpath(link))
        if not real.is_relative_to(self._real_root):
            raise InvalidSpec(
                f"links must stay inside the source directory, `{name}` points to {real}; copy "
                f"the file in, pass it as an input channel, or name it in {IGNORE_FILE}"
            )
        return real


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _stat(path: Path, name: str) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise InvalidSpec(
            f"the source must be readable, `{name}` is not: {error.strerror}; remove it or name "
            f"it in {IGNORE_FILE}"
        ) from None


def _file_entry(name: str, path: Path, found: os.stat_result) -> _Entry:
    if not stat.S_ISREG(found.st_mode):
        raise InvalidSpec(
            f"a source must be made of files and directories, `{name}` is something else; "
            f"remove it or name it in {IGNORE_FILE}"
        )
    executable = bool(found.st_mode & stat.S_IXUSR)
    return _Entry(name, path, is_directory=False, size=found.st_size, executable=executable)


def _check_limits(source: Path, entries: Sequence[_Entry], limits: SourceLimits) -> None:
    files = [entry for entry in entries if not entry.is_directory]
    total = sum(entry.size for entry in files)
    if total <= limits.max_bytes and len(files) <= limits.max_files:
        return
    sizes: dict[str, tuple[int, int]] = {}
    for entry in files:
        top, slash, _ = entry.name.partition("/")
        size, count = sizes.get(top + slash, (0, 0))
        sizes[top + slash] = (size + entry.size, count + 1)
    largest = sorted(sizes.items(), key=lambda item: item[1], reverse=True)[:5]
    listed = ", ".join(
        f"{name} ({size:,} bytes, {count} files)" for name, (size, count) in largest
    )
    raise LimitExceeded(
        f"a source must have at most {limits.max_bytes:,} bytes and {limits.max_files:,} files, "
        f"{source} has {total:,} bytes in {len(files):,} files; largest: {listed}; name data in "
        f"{IGNORE_FILE} and pass it as an input channel"
    )


def _add(archive: tarfile.TarFile, entry: _Entry) -> int:
    """Add one entry and return its size."""
    header = tarfile.TarInfo(entry.name)
    header.mtime = FIXED_TIME
    header.mode = 0o755 if entry.executable else 0o644
    if entry.is_directory:
        header.type = tarfile.DIRTYPE
        archive.addfile(header)
        return 0
    try:
        if entry.size <= CHUNK_BYTES:
            content = _read_stable(entry)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        else:
            header.size = entry.size
            with entry.path.open("rb") as stream:
                before = os.fstat(stream.fileno())
                archive.addfile(header, stream)
                if entry.size != before.st_size or _changed(before, stream):
                    raise _unstable(entry)
    except OSError as error:
        # tarfile says "unexpected end of data" as an OSError without a code.
        if error.errno is None:
            raise _unstable(entry) from None
        raise InvalidSpec(
            f"the source must be readable, `{entry.name}` is not: {error.strerror}; fix its "
            f"permissions or name it in {IGNORE_FILE}"
        ) from None
    return header.size


def _read_stable(entry: _Entry) -> bytes:
    """Read a small file, again if it changed meanwhile."""
    for _ in range(READS):
        with entry.path.open("rb") as stream:
            before = os.fstat(stream.fileno())
            content = stream.read(2 * CHUNK_BYTES)
            if len(content) == before.st_size and not _changed(before, stream):
                return content
    raise _unstable(entry)


def _changed(before: os.stat_result, stream: BinaryIO) -> bool:
    after = os.fstat(stream.fileno())
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)


def _unstable(entry: _Entry) -> InvalidSpec:
    return InvalidSpec(
        f"source files must not change while they are packed, `{entry.name}` did; stop what "
        f"writes to it, or name it in {IGNORE_FILE}"
    )


class _GzipHasher:
    """Compresses what it is given, and hashes both sides."""

    def __init__(self, into: BinaryIO) -> None:
        self._into = into
        self._compressor = zlib.compressobj(level=1, wbits=31)  # gzip without name and time
        self._written = 0
        self.inner = hashlib.sha256()
        self.outer = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.inner.update(data)
        self._emit(self._compressor.compress(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def finish(self) -> None:
        self._emit(self._compressor.flush())

    def _emit(self, data: bytes) -> None:
        if data:
            self._into.write(data)
            self.outer.update(data)
            self.size += len(data)

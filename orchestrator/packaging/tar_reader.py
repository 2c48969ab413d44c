"""Reads a tar that may be hostile, member by member.

Only regular files and directories are taken. Links, devices, absolute names and names that
climb are refused, never repaired; size, count, depth and compression ratio are capped. Headers
are decoded by ``tarfile.TarInfo``; the rest is ours, because ``tarfile``'s own filters had
several ways round them.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from orchestrator.blobs.keys import split_name
from orchestrator.errors import InputError

BLOCK = 512
CHUNK_BYTES = 1024 * 1024
MIB = 1024 * 1024
FIXED_TIME = 946_684_800  # 2000-01-01: not 1970, which zip tools refuse
MAX_HEADER_BYTES = 64 * 1024
"""Cap on one extended header (a long name, pax records)."""
MAX_LINK_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Caps on what an archive may unpack to."""

    max_bytes: int = 2 * 1024 * MIB
    max_members: int = 100_000
    max_depth: int = 100
    max_ratio: int = 100
    """Unpacked bytes per packed byte, checked beyond ``ratio_free_bytes``."""
    ratio_free_bytes: int = 64 * MIB
    links: bool = False
    """Whether symbolic links that stay inside are taken; what programs leave may have them."""


SOURCE_LIMITS = ArchiveLimits()
MODEL_LIMITS = ArchiveLimits(
    max_bytes=10 * 1024 * 1024 * MIB,
    max_members=5_000_000,
    max_ratio=1200,  # gzip's own limit: a model of zeros is no attack
    max_depth=256,  # deeper than what the runtime packs
    links=True,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive."""

    parts: tuple[str, ...]
    is_directory: bool
    size: int
    executable: bool
    link: str | None = None
    """Where a symbolic link leads, relative to its own directory."""

    @property
    def name(self) -> str:
        """The name with ``/`` between its parts."""
        return "/".join(self.parts)


class ArchiveReader:
    """Yields the members of a tar or tar.gz, checked, in the order of the archive.

    After each member from ``members`` the content may be read once by ``chunks``.
    """

    def __init__(self, stream: BinaryIO, label: str, limits: ArchiveLimits) -> None:
        """Read from the present position of a stream.

        Args:
            stream: The archive.
            label: What it is, for messages.
            limits: Caps.
        """
        self._packed = stream
        self._label = label
        self._limits = limits
        self._start = stream.tell()
        magic = stream.read(2)
        stream.seek(self._start)
        is_gzip = magic == b"\x1f\x8b"
        self._tar: BinaryIO = gzip.GzipFile(fileobj=stream) if is_gzip else stream  # type: ignore[assignment]
        self._unpacked = 0
        self._members = 0
        self._left = 0  # bytes of the present member that are not read yet
        self._padding = 0

    def members(self) -> Iterator[Member]:
        """Yield each file and directory.

        Raises:
            InputError: The archive is damaged, hostile or too large.
        """
        while (header := self._next_header()) is not None:
            member = self._checked(header)
            if member is not None:
                yield member
        while self._read_up_to(CHUNK_BYTES):
            pass  # what follows the end is read too, so that a damaged end is noticed

    def chunks(self) -> Iterator[bytes]:
        """Yield the content of the present file."""
        while self._left:
            yield self.read_content(CHUNK_BYTES)

    def stream(self) -> BinaryIO:
        """Return the content of the present file as a stream, to be read to its end."""
        return io.BufferedReader(_Content(self))

    def read_content(self, size: int) -> bytes:
        """Return up to ``size`` more bytes of the present file."""
        data = self._read(min(self._left, size))
        self._left -= len(data)
        return data

    def refuse(self, rule: str) -> InputError:
        """Return the error for a broken rule."""
        return InputError(f"{self._label} {rule}; pack it again from regular files")

    def _next_header(self) -> tarfile.TarInfo | None:
        """Return the next header with the extended headers before it applied."""
        self._skip()
        name: str | None = None
        link: str | None = None
        pax: dict[str, str] = {}
        while (header := self._header()) is not None:
            if header.type in {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}:
                text = self._extension(header).split(b"\0", 1)[0]
                if header.type == tarfile.GNUTYPE_LONGNAME:
                    name = text.decode("utf-8", "surrogateescape")
                else:
                    link = text.decode("utf-8", "surrogateescape")
            elif header.type in {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}:
                records = _pax_records(self._extension(header))
                if records is None:
                    raise self.refuse("must not have malformed extended headers")
                if header.type != tarfile.XGLTYPE:
                    pax.update(records)
            else:
                header.linkname = pax.get("linkpath", header.linkname if link is None else link)
                self._apply(header, pax, name)
                return header
        return None

    def _apply(self, header: tarfile.TarInfo, pax: dict[str, str], name: str | None) -> None:
        if any(key.startswith("GNU.sparse") for key in pax):
            raise self.refuse("must not have sparse members")
        header.name = pax.get("path", name if name is not None else header.name)
        size = pax.get("size", "")
        if size:
            if not (size.isascii() and size.isdigit() and len(size) < 20):
                raise self.refuse("must not have malformed extended headers")
            header.size = int(size)
        self._left = header.size if header.type in tarfile.REGULAR_TYPES else 0
        self._padding = -self._left % BLOCK

    def _header(self) -> tarfile.TarInfo | None:
        block = self._read_up_to(BLOCK)
        if len(block) < BLOCK:
            raise self.refuse("must not be empty or cut short")
        if block.count(0) == BLOCK:
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise self.refuse(f"must be a tar or tar.gz archive ({error})") from None
        if header.size < 0:
            raise self.refuse("must not have members of negative size")
        self._members += 1
        if self._members > self._limits.max_members:
            raise self.refuse(f"must have at most {self._limits.max_members:,} members")
        return header

    def _extension(self, header: tarfile.TarInfo) -> bytes:
        if header.size > MAX_HEADER_BYTES:
            raise self.refuse(f"must not have extended headers over {MAX_HEADER_BYTES} bytes")
        data = self._read(header.size + -header.size % BLOCK)
        return data[: header.size]

    def _checked(self, header: tarfile.TarInfo) -> Member | None:
        """Return the member, or None for the root directory itself."""
        is_directory = header.type == tarfile.DIRTYPE
        is_link = header.type == tarfile.SYMTYPE and self._limits.links
        known = is_directory or is_link or header.type in {tarfile.REGTYPE, tarfile.AREGTYPE}
        if not known:
            raise self.refuse(f"must hold only files and directories, {header.name!r} is neither")
        name = header.name.removesuffix("/") if is_directory else header.name
        while name.startswith("./"):
            name = name[2:]
        if is_directory and name in {"", "."}:
            return None
        try:
            parts = split_name(name)
        except InputError as error:
            raise InputError(f"{self._label} has a bad member: {error}") from None
        if len(parts) > self._limits.max_depth:
            raise self.refuse(f"must nest at most {self._limits.max_depth} deep")
        if self._unpacked + self._left > self._limits.max_bytes:
            raise self._too_large()
        link = header.linkname if is_link else None
        if link is not None and not stays_inside(link, len(parts) - 1):
            raise self.refuse(f"must not have links that leave it, such as {header.name!r}")
        return Member(parts, is_directory, self._left, bool(header.mode & 0o100), link)

    def _too_large(self) -> InputError:
        return self.refuse(f"must unpack to at most {self._limits.max_bytes:,} bytes")

    def _skip(self) -> None:
        for _ in self.chunks():
            pass
        if self._padding:
            self._read(self._padding)
            self._padding = 0

    def _read(self, size: int) -> bytes:
        data = self._read_up_to(size)
        if len(data) < size:
            raise self.refuse("must not be cut short")
        return data

    def _read_up_to(self, size: int) -> bytes:
        parts: list[bytes] = []
        missing = size
        try:
            while missing and (part := self._tar.read(missing)):
                parts.append(part)
                missing -= len(part)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.refuse(f"must not be damaged ({error})") from None
        self._unpacked += size - missing
        if self._unpacked > self._limits.max_bytes + MAX_HEADER_BYTES * self._members:
            raise self._too_large()
        self._check_ratio()
        return b"".join(parts)

    def _check_ratio(self) -> None:
        if self._unpacked <= self._limits.ratio_free_bytes:
            return
        packed = self._packed.tell() - self._start
        if self._unpacked > packed * self._limits.max_ratio:
            raise self.refuse(
                f"must not unpack to more than {self._limits.max_ratio} times its size"
            )


class _Content(io.RawIOBase):
    """The content of a reader's present file."""

    def __init__(self, reader: ArchiveReader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._reader.read_content(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _pax_records(data: bytes) -> dict[str, str] | None:
    """Decode records of the form ``<length> <key>=<value>``; None if they are malformed."""
    found: dict[str, str] = {}
    while data:
        digits, space, _ = data.partition(b" ")
        if not (space and digits.isdigit() and len(digits) < 8):
            return None
        length = int(digits)
        record = data[len(digits) + 1 : length]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if length > len(data) or not record.endswith(b"\n") or not equals:
            return None
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        data = data[length:]
    return found


def stays_inside(link: str, depth: int) -> bool:
    """Return whether a link cannot lead out of the tree, whatever other links there are.

    Args:
        link: Where it points.
        depth: How many directories it lies below the root.
    """
    if not link or link.startswith("/") or "\0" in link or len(link) > MAX_LINK_CHARACTERS:
        return False
    parts = [part for part in link.split("/") if part not in {"", "."}]
    climbs = next((n for n, part in enumerate(parts) if part != ".."), len(parts))
    return climbs <= depth and ".." not in parts[climbs:]


def header_of(member: Member) -> tarfile.TarInfo:
    """Return a header that depends on nothing but the member."""
    header = tarfile.TarInfo(member.name)
    header.mtime = FIXED_TIME
    header.mode = 0o755 if member.is_directory or member.executable else 0o644
    header.type = tarfile.DIRTYPE if member.is_directory else tarfile.REGTYPE
    if member.link is not None:
        header.type, header.linkname = tarfile.SYMTYPE, member.link
    header.size = member.size
    return header

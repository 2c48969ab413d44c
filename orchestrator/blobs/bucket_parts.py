"""Files of uploads in parts.

Parts come in any order, several at a time, and nearly always in one size. So they are written
where they will be in the whole: part n at (n - 1) times the size of the part that came first. When
that guess was right, completing an upload moves no byte: the file gets its name. Whatever does not
fit (a larger part, one that is sent again, one that came to another process) gets a file of its
own, and completing copies.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from orchestrator.blobs.bucket_content import Hasher
from orchestrator.blobs.bucket_values import MIN_PART_BYTES, Content, Part
from orchestrator.blobs.files import CHUNK_BYTES, disk_errors
from orchestrator.blobs.shelf import TREE, Shelf

MAX_SPARSE_BYTES = 1 << 40
"""A file system need not take an offset above this."""


@dataclass
class _Whole:
    """The file that the parts of an upload are written into."""

    name: str
    stride: int
    taken: set[int] = field(default_factory=set)
    writing: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part's bytes lie."""

    file: str
    offset: int


class PartFiles:
    """Gives out places to the parts of all uploads of this process, and joins them.

    Args:
        shelf: In whose incoming room the files lie.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._lock = Lock()
        self._wholes: dict[str, _Whole] = {}

    def writer(
        self, upload_id: str, number: int, size: int | None, also: Sequence[Hasher] = ()
    ) -> PartWriter:
        """Return a writer for a part.

        Args:
            upload_id: Of the upload.
            number: Of the part.
            size: How many bytes will come, where that is known.
            also: Shown the bytes, too.
        """
        whole = self._take(upload_id, number, size)
        if whole is None:
            place = Place(f"{upload_id}.{secrets.token_hex(8)}", 0)
        else:
            place = Place(whole.name, (number - 1) * whole.stride)
        path = self._shelf.incoming(place.file)
        return PartWriter(self, path, place, whole, size, also)

    def _take(self, upload_id: str, number: int, size: int | None) -> _Whole | None:
        with self._lock:
            whole = self._wholes.get(upload_id)
            if whole is None:
                if size is None or size < MIN_PART_BYTES:
                    return None
                whole = _Whole(f"{upload_id}.{secrets.token_hex(8)}", size)
                self._wholes[upload_id] = whole
            too_far = number * whole.stride > MAX_SPARSE_BYTES
            if size is None or size > whole.stride or number in whole.taken or too_far:
                return None
            whole.taken.add(number)
            whole.writing += 1
            return whole

    def written(self, whole: _Whole) -> None:
        """A writer of the whole will write no more."""
        with self._lock:
            whole.writing -= 1

    def join(self, upload_id: str, parts: Sequence[Part]) -> Content:
        """Make one file of parts; durable when it returns. The parts stay as they are."""
        size = sum(part.size for part in parts)
        digest = hashlib.sha256(f"{len(parts)}\n".encode())
        for part in parts:
            digest.update(f"{part.size} {part.sha256}\n".encode())
        content = Content(TREE, digest.hexdigest(), size)
        with disk_errors(self._shelf.root):
            if self._is_whole(upload_id, parts, size):
                whole = self._shelf.incoming(parts[0].file)
                with suppress(PermissionError, NotImplementedError):  # no links here
                    self._shelf.keep(whole, TREE, content.name, link=True)
                    return content
            self._shelf.keep(self._copied(parts), TREE, content.name)
        return content

    def _is_whole(self, upload_id: str, parts: Sequence[Part], size: int) -> bool:
        """Whether the parts are one file, in order and without gaps, that nobody writes to."""
        at = 0
        for part in parts:
            if part.file != parts[0].file or part.offset != at:
                return False
            at += part.size
        with self._lock:
            whole = self._wholes.get(upload_id)
            if whole is None or whole.name != parts[0].file:
                return False  # another process may still write to it
            del self._wholes[upload_id]  # later parts go elsewhere
            if whole.writing:
                return False
        return self._shelf.incoming(parts[0].file).stat().st_size == size

    def _copied(self, parts: Sequence[Part]) -> Path:
        partial = self._shelf.incoming()
        try:
            with partial.open("xb") as target:
                for part in parts:
                    with self._shelf.incoming(part.file).open("rb") as source:
                        _copy(source.fileno(), part.offset, target.fileno(), part.size)
                os.fsync(target.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return partial

    def forget(self, upload_id: str, files: Iterable[str]) -> None:
        """Remove the files of an upload that is over."""
        with self._lock:
            whole = self._wholes.pop(upload_id, None)
        for name in {*files, *([whole.name] if whole else [])}:
            self._shelf.incoming(name).unlink(missing_ok=True)

    def discard(self, upload_id: str, file: str) -> None:
        """Remove the file of a part that was replaced, unless other parts are still to come to it."""
        with self._lock:
            whole = self._wholes.get(upload_id)
        if whole is None or whole.name != file:
            self._shelf.incoming(file).unlink(missing_ok=True)


class PartWriter:
    """Takes the bytes of one part in order. Use it as a context."""

    def __init__(
        self,
        files: PartFiles,
        path: Path,
        place: Place,
        whole: _Whole | None,
        most: int | None,
        also: Sequence[Hasher],
    ) -> None:
        self._files = files
        self._path = path
        self._whole = whole
        self._most = most
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._hashers = (self._sha256, self._md5, *also)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._finished = False
        self.place = place
        self.size = 0

    def __enter__(self) -> PartWriter:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file; remove what is this part's own and was not finished."""
        os.close(self._handle)
        if self._whole is not None:
            self._files.written(self._whole)
        elif not self._finished:
            self._path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """Of all bytes so far."""
        return self._sha256.hexdigest()

    @property
    def etag(self) -> str:
        """MD5 of all bytes so far."""
        return self._md5.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            LimitExceeded: No space is left.
        """
        if self._whole is not None and self.size + len(data) > (self._most or 0):
            raise ValueError("a part must not be larger than it was said to be")
        for hasher in self._hashers:
            hasher.update(data)
        with disk_errors(self._path):
            view = memoryview(data)
            while view:
                written = os.pwrite(self._handle, view, self.place.offset + self.size)
                self.size += written
                view = view[written:]

    def finish(self) -> None:
        """Make the bytes durable."""
        with disk_errors(self._path):
            os.fdatasync(self._handle)
        self._finished = True


def _copy(source: int, offset: int, target: int, size: int) -> None:
    """Append a piece of one file to another, inside the kernel where it can do that."""
    left = size
    while left and hasattr(os, "copy_file_range"):
        try:
            copied = os.copy_file_range(source, target, left, offset)
        except OSError:
            break
        if not copied:
            break
        offset, left = offset + copied, left - copied
    while left:
        data = os.pread(source, min(left, CHUNK_BYTES), offset)
        if not data:
            raise EOFError("a part's file must have all its bytes")
        os.write(target, data)
        offset, left = offset + len(data), left - len(data)

"""Bytes of objects: written as they come, read from wherever they lie."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from orchestrator.blobs.bucket_values import SMALL, Content
from orchestrator.blobs.files import disk_errors
from orchestrator.blobs.shelf import SHA256, Shelf

SMALL_BYTES = 16 * 1024
"""Content up to this size is kept in the database, where many commits share one sync."""


class Hasher(Protocol):
    """What is shown all bytes on their way: hashlib's objects, and checksums."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take the next bytes."""


class ContentWriter:
    """Takes the bytes of one object in order; none of them is read again.

    Use it as a context: what was not finished is removed at the end.

    Args:
        shelf: Where the file goes.
        also: Shown the same bytes.
    """

    def __init__(self, shelf: Shelf, also: Sequence[Hasher] = ()) -> None:
        self._shelf = shelf
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)  # what S3 calls an ETag
        self._hashers = (self._sha256, self._md5, *also)
        self._small = bytearray()
        self._partial: Path | None = None
        self._file: BinaryIO | None = None
        self.size = 0

    def __enter__(self) -> ContentWriter:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was not finished."""
        if self._file is not None:
            self._file.close()
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)

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
        for hasher in self._hashers:
            hasher.update(data)
        self.size += len(data)
        if self._file is None and self.size <= SMALL_BYTES:
            self._small += data
            return
        with disk_errors(self._shelf.root):
            file, view = self._opened(), memoryview(data)
            while view:
                view = view[file.write(view) :]  # a full disk takes only some of it at first

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._partial = self._shelf.incoming()
            self._file = self._partial.open("xb", buffering=0)
            self._file.write(self._small)
            self._small.clear()
        return self._file

    def finish(self) -> Content:
        """Return the content; a file is durable then, small content with the row that names it."""
        if self._file is None or self._partial is None:
            return Content(SMALL, self.sha256, self.size, bytes(self._small))
        with disk_errors(self._shelf.root):
            os.fsync(self._file.fileno())
            self._file.close()
            self._shelf.keep(self._partial, SHA256, self.sha256)
        return Content(SHA256, self.sha256, self.size)

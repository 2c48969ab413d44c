"""Sends each location to the store that serves its scheme."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from orchestrator.blobs.base import EVERYTHING, Blob, BlobStore, ObjectInfo, Selection, Transfer
from orchestrator.errors import InputError


class RoutedBlobStore(BlobStore):
    """One store made of several; content goes to the default one."""

    def __init__(
        self,
        default: BlobStore,
        schemes: Mapping[str, Callable[[], BlobStore]] | None = None,
        own: Callable[[str], BlobStore | None] = lambda _uri: None,
    ) -> None:
        """Make a store from parts.

        Args:
            default: Serves content, ``blob:`` and ``file:`` addresses and plain paths.
            schemes: Scheme -> maker of the store that serves it, called once, when needed.
            own: Asked first about locations with one of these schemes; None = not its own.
        """
        self._default = default
        self._makers = dict(schemes or {})
        self._own = own
        self._made: dict[str, BlobStore] = {}
        self._lock = threading.Lock()

    def _store(self, uri: str) -> BlobStore:
        scheme, separator, _ = uri.partition("://")
        if not separator or scheme == "file" or uri.startswith("/"):
            return self._default
        if scheme not in self._makers:
            known = ", ".join(["a path", "file://", *(f"{name}://" for name in self._makers)])
            raise InputError(f"a location must be one of {known}; got {uri!r}")
        if (own := self._own(uri)) is not None:
            return own
        with self._lock:
            if scheme not in self._made:
                self._made[scheme] = self._makers[scheme]()
            return self._made[scheme]

    def put_file(self, path: Path) -> Blob:
        """Keep a file in the default store."""
        return self._default.put_file(path)

    def put_bytes(self, data: bytes) -> Blob:
        """Keep bytes in the default store."""
        return self._default.put_bytes(data)

    def open(self, uri: str) -> BinaryIO:
        """Open one object."""
        return self._store(uri).open(uri)

    def exists(self, uri: str) -> bool:
        """Say whether anything is at the location."""
        return self._store(uri).exists(uri)

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe one object."""
        return self._store(uri).stat(uri)

    def delete(self, uri: str) -> None:
        """Remove one object."""
        self._store(uri).delete(uri)

    def fetch_to(self, uri: str, path: Path, *, writable: bool = True) -> int:
        """Put one object at a path."""
        return self._store(uri).fetch_to(uri, path, writable=writable)

    def lends(self, uri: str) -> bool:
        """See ``BlobStore.lends``."""
        return self._store(uri).lends(uri)

    def store_file(self, source: BinaryIO, uri: str) -> int:
        """Write one object."""
        return self._store(uri).store_file(source, uri)

    def download(
        self,
        uri: str,
        directory: Path,
        *,
        selection: Selection = EVERYTHING,
        writable: bool = True,
    ) -> Transfer:
        """Put the objects of a location below a directory."""
        return self._store(uri).download(uri, directory, selection=selection, writable=writable)

    def check_writable(self, uri: str) -> None:
        """Find out whether something could be written at a location."""
        self._store(uri).check_writable(uri)

    def discard_partial(self, uri: str) -> None:
        """See ``BlobStore.discard_partial``."""
        self._store(uri).discard_partial(uri)

    def upload(self, path: Path, uri: str, *, link: bool = False) -> Transfer:
        """Write a file or a directory's files to a location."""
        return self._store(uri).upload(path, uri, link=link)

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Yield the objects at or below a location."""
        return self._store(uri).list(uri)

    def list_beginning(self, uri: str) -> Iterator[ObjectInfo]:
        """See ``BlobStore.list_beginning``."""
        return self._store(uri).list_beginning(uri)

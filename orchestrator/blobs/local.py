"""Objects in directories of this machine.

Content-addressed objects lie in ``root/sha256/ab/<digest>``; their address is
``blob:sha256:<digest>``, so that a home directory can move. Other locations are absolute paths
and ``file://`` URIs.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NoReturn
from urllib.parse import unquote_to_bytes, urlsplit

from orchestrator.blobs import transfer
from orchestrator.blobs.base import EVERYTHING, Blob, BlobStore, Selection, Transfer
from orchestrator.blobs.files import (
    CHUNK_BYTES,
    PARTIAL_MARK,
    disk_errors,
    link_file,
    make_directory,
    partial_file,
    sha256_of,
    sync_directory,
    write_file,
)
from orchestrator.blobs.keys import ObjectInfo, split_name
from orchestrator.blobs.shelf import SHA256, Shelf
from orchestrator.errors import InputError, NotFound

BLOB_SCHEME = "blob:sha256:"
DIGEST = re.compile(r"[0-9a-f]{64}")
MAX_DEPTH = 100
DOWNLOAD_WORKERS = 4


class LocalBlobStore(BlobStore):
    """A content-addressed store below one directory, and every allowed path as a location."""

    def __init__(self, root: Path, *, allowed_roots: Sequence[Path] | None = None) -> None:
        """Use a store; its directory is made on the first write.

        Args:
            root: Where content-addressed objects lie, usually ``<home>/blobs``.
            allowed_roots: Locations must lie below one of these, links resolved; None allows
                all that the process may access.
        """
        self.shelf = Shelf(root)
        self._allowed = None if allowed_roots is None else [r.resolve() for r in allowed_roots]

    # Content.

    def put_file(self, path: Path) -> Blob:
        """Keep a file under its digest; see ``BlobStore.put_file``."""
        with disk_errors(path):
            source = path.open("rb")
        with source:
            return self._put(source, sha256_of(source))

    def put_bytes(self, data: bytes) -> Blob:
        """Keep bytes under their digest; see ``BlobStore.put_bytes``."""
        return self._put(io.BytesIO(data), hashlib.sha256(data).hexdigest())

    def path_of(self, digest: str) -> Path:
        """Return where the object of a digest lies; read-only for everyone.

        Raises:
            InputError: This is not a digest.
        """
        if not DIGEST.fullmatch(digest):
            raise InputError(f"a digest must be 64 hexadecimal digits, got {digest!r}")
        return self.shelf.path(SHA256, digest)

    def gc(self, referenced: Collection[str], *, older_than: float) -> int:
        """Remove objects that nothing refers to, and what crashed writers left.

        Args:
            referenced: Digests to keep.
            older_than: Epoch seconds. What was written later is kept, because the row that
                will name it may not be written yet.

        Returns:
            Bytes set free.
        """
        return self.shelf.gc(referenced, older_than=older_than)

    def _put(self, source: BinaryIO, digest: str) -> Blob:
        target = self.path_of(digest)
        source.seek(0)
        with disk_errors(target), self.shelf.lock(exclusive=False):
            make_directory(target.parent)
            size = source.seek(0, os.SEEK_END)
            source.seek(0)
            if target.exists() and target.stat().st_size == size:
                os.utime(target)  # keeps it from a collection that started before
                sync_directory(target.parent)
            else:
                self._write_object(source, target, digest)
        return Blob(digest, size, BLOB_SCHEME + digest)

    def _write_object(self, source: BinaryIO, target: Path, digest: str) -> None:
        """Write an object, hashing again what is written: the source may have changed."""
        hasher = hashlib.sha256()
        with partial_file(target) as partial:
            with partial.open("xb") as stream:
                while chunk := source.read(CHUNK_BYTES):
                    hasher.update(chunk)
                    stream.write(chunk)
                stream.flush()
                partial.chmod(0o444)
                os.fsync(stream.fileno())
            if hasher.hexdigest() != digest:
                raise InputError("the file must not change while it is stored, it did; retry")
            partial.replace(target)
        sync_directory(target.parent)

    # Locations.

    def _resolve(self, uri: str) -> Path:
        if uri.startswith(BLOB_SCHEME):
            return self.path_of(uri.removeprefix(BLOB_SCHEME))
        path = path_from(uri)
        if self._allowed is not None:
            self._check_allowed(path)
        return path

    def _check_allowed(self, path: Path) -> None:
        real = path.resolve()
        if not any(real.is_relative_to(root) for root in self._allowed or ()):
            raise InputError(
                f"a local location must lie below one of {[str(r) for r in self._allowed or ()]}, "
                f"got {path}"
            )

    def open(self, uri: str) -> BinaryIO:
        """Open one file; see ``BlobStore.open``."""
        path = self._resolve(uri)
        try:
            with disk_errors(path):
                if not stat.S_ISREG(path.stat().st_mode):
                    raise InputError(f"an object must be a regular file, {path} is not")
                return path.open("rb")
        except FileNotFoundError:
            _missing(uri)

    def exists(self, uri: str) -> bool:
        """Say whether a file or directory is there."""
        return self._resolve(uri).exists()

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe one file; see ``BlobStore.stat``."""
        path = self._resolve(uri)
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _info(path.name, path, found) if stat.S_ISREG(found.st_mode) else None

    def delete(self, uri: str) -> None:
        """Remove one file or link; see ``BlobStore.delete``."""
        path = self._resolve(uri)
        with disk_errors(path), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            sync_directory(path.parent)

    def fetch_to(self, uri: str, path: Path, *, writable: bool = True) -> int:
        """Put one file at a path; see ``BlobStore.fetch_to``."""
        source = self._resolve(uri)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                if not writable and source.is_file() and link_file(source, path):
                    return path.stat().st_size
            except FileNotFoundError:
                _missing(uri)
            with self.open(uri) as stream:
                return write_file(path, stream, durable=False)

    def lends(self, uri: str) -> bool:
        """See ``BlobStore.lends``; only another file system costs a copy."""
        del uri
        return True

    def check_writable(self, uri: str) -> None:
        """See ``BlobStore.check_writable``; directories that are missing can be made."""
        target = self._target(uri)
        there = next(path for path in (target, *target.parents) if os.path.lexists(path))
        if not there.is_dir():
            raise InputError(f"{there} must be a directory, it is not; choose another place")
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"{there} must be writable, it is not; check its permissions")

    def store_file(self, source: BinaryIO, uri: str) -> int:
        """Write one file; see ``BlobStore.store_file``."""
        target = self._target(uri)
        with disk_errors(target):
            make_directory(target.parent)
            return write_file(target, source, durable=True)

    def _target(self, uri: str) -> Path:
        if uri.startswith(BLOB_SCHEME):
            raise InputError(f"content-addressed objects are written by `put_file`, got {uri!r}")
        return self._resolve(uri)

    def download(
        self,
        uri: str,
        directory: Path,
        *,
        selection: Selection = EVERYTHING,
        writable: bool = True,
    ) -> Transfer:
        """Put files below a directory; see ``BlobStore.download``."""
        files = transfer.select_files(self, uri, selection)
        return transfer.download_files(
            self, files, directory, writable=writable, workers=DOWNLOAD_WORKERS
        )

    def upload(self, path: Path, uri: str, *, link: bool = False) -> Transfer:
        """Write a file or a directory's files; see ``BlobStore.upload``."""
        target = self._target(uri)
        if path.is_dir() and not path.is_symlink():

            def put(name: str, stream: BinaryIO) -> int:
                return self.store_file(stream, str(target.joinpath(*split_name(name))))

            with disk_errors(target):
                make_directory(target)
            return transfer.upload_directory(path, put, workers=1)
        with disk_errors(target), transfer.open_regular(path) as stream:
            make_directory(target.parent)
            if link and link_file(path, target):
                os.fsync(stream.fileno())
                sync_directory(target.parent)
                return Transfer(1, os.fstat(stream.fileno()).st_size)
            return Transfer(1, write_file(target, stream, durable=True))

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Yield the files at or below a path, in order of names; links are followed.

        Entries that are neither files nor directories, and dangling links, are left out.

        Raises:
            InputError: A directory cannot be read, links form a circle, or a link leads out
                of the allowed roots.
        """
        path = self._resolve(uri)
        if (single := self.stat(uri)) is not None:
            yield single
        elif path.is_dir():
            yield from self._list_directory(path, "", ())

    def _list_directory(
        self, directory: Path, inside: str, above: tuple[tuple[int, int], ...]
    ) -> Iterator[ObjectInfo]:
        found = directory.stat()
        identity = (found.st_dev, found.st_ino)
        if identity in above or len(above) > MAX_DEPTH:
            raise InputError(
                f"links must not form a circle and directories must nest at most {MAX_DEPTH} "
                f"deep, see {directory}"
            )
        with disk_errors(directory):
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink() and self._allowed is not None:
                self._check_allowed(path)
            if entry.is_dir():
                yield from self._list_directory(path, f"{inside}{entry.name}/", (*above, identity))
            elif entry.is_file() and PARTIAL_MARK not in entry.name:
                yield _info(inside + entry.name, path, entry.stat())


def path_from(location: str) -> Path:
    """Return the path of a ``file://`` URI or of an absolute path.

    Raises:
        InputError: It is neither.
    """
    name = location
    if not location.startswith("/") and "://" in location:
        parts = urlsplit(location)
        if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
            raise InputError(
                f"a local location must be a path or `file:///path`, got {location!r}"
            )
        encoded = location.partition("://")[2].removeprefix("localhost")
        name = os.fsdecode(unquote_to_bytes(encoded))
    if "\0" in name or not Path(name).is_absolute():
        raise InputError(f"a local location must be an absolute path, got {location!r}")
    return Path(name)


def _info(key: str, path: Path, found: os.stat_result) -> ObjectInfo:
    etag = f"{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ino:x}"
    return ObjectInfo(key, found.st_size, etag, str(path))


def _missing(uri: str) -> NoReturn:
    raise NotFound(f"no object is at {uri!r}; check the location")

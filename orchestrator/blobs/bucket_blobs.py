"""The home's own buckets as a place for blobs: no network, no copies where none are needed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from orchestrator.blobs import transfer
from orchestrator.blobs.base import EVERYTHING, Blob, BlobStore, Selection, Transfer
from orchestrator.blobs.bucket_errors import NoSuchBucket, NoSuchKey, NoSuchUpload
from orchestrator.blobs.bucket_values import Facts, ListQuery, StoredObject
from orchestrator.blobs.buckets import BucketStore
from orchestrator.blobs.files import CHUNK_BYTES, disk_errors, link_file, write_file
from orchestrator.blobs.keys import (
    ObjectInfo,
    S3Location,
    folder_of,
    parse_s3_uri,
    relative_key,
    split_name,
)
from orchestrator.errors import InputError, InvalidState, NotFound

WORKERS = 4
PAGE_KEYS = 1000
CONTENT_TYPE = "binary/octet-stream"


class BucketBlobStore(BlobStore):
    """Objects named ``s3://bucket/key`` whose bucket is one of this home's.

    Args:
        buckets: The home's.
        root: ``s3://bucket/prefix`` of content-addressed objects; None refuses ``put_*``.
    """

    def __init__(self, buckets: BucketStore, root: str | None = None) -> None:
        self._buckets = buckets
        self._root = root

    def holds(self, uri: str) -> bool:
        """Say whether a location's bucket is one of this home's."""
        return self._buckets.has_bucket(parse_s3_uri(uri).bucket)

    # Content.

    def put_file(self, path: Path) -> Blob:
        """Keep a file under its digest; see ``BlobStore.put_file``."""
        with transfer.open_regular(path) as stream:
            return self._put(stream)

    def put_bytes(self, data: bytes) -> Blob:
        """Keep bytes under their digest; see ``BlobStore.put_bytes``."""
        return self._put(io.BytesIO(data))

    def _put(self, stream: BinaryIO) -> Blob:
        if self._root is None:
            raise InvalidState("buckets keep content only if their `root` is set, it is not")
        digest = hashlib.sha256()
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
        name = digest.hexdigest()
        uri = parse_s3_uri(self._root).child(f"sha256/{name[:2]}/{name}").uri
        return Blob(name, self.store_file(stream, uri), uri)

    # Locations.

    def _get(self, uri: str) -> StoredObject:
        place = parse_s3_uri(uri)
        if not place.key:
            raise NotFound(f"no object is at {uri!r}; check bucket and key")
        try:
            return self._buckets.get(place.bucket, place.key)
        except NoSuchBucket as error:
            raise _no_bucket(uri) from error
        except NoSuchKey as error:
            raise NotFound(f"no object is at {uri!r}; check bucket and key") from error

    def open(self, uri: str) -> BinaryIO:
        """Open one object; see ``BlobStore.open``."""
        return self._buckets.open(self._get(uri))

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe one object; see ``BlobStore.stat``."""
        place = parse_s3_uri(uri)
        try:
            return _info(place.key.rpartition("/")[2], place, self._get(uri))
        except NotFound:
            return None

    def exists(self, uri: str) -> bool:
        """Say whether an object, or anything below the prefix, exists."""
        if self.stat(uri) is not None:
            return True
        place = parse_s3_uri(uri)
        return next(self._objects(place, _as_prefix(place.key), limit=1), None) is not None

    def delete(self, uri: str) -> None:
        """Remove one object; see ``BlobStore.delete``."""
        place = parse_s3_uri(uri)
        try:
            self._buckets.delete(place.bucket, [place.key])
        except NoSuchBucket as error:
            raise _no_bucket(uri) from error

    def fetch_to(self, uri: str, path: Path, *, writable: bool = True) -> int:
        """Put one object at a path; see ``BlobStore.fetch_to``.

        What may not be written to is a second name of the stored file, which is read-only.
        """
        found = self._get(uri)
        source = self._buckets.file_of(found)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not writable and source is not None and link_file(source, path):
                return found.size
            with self._buckets.open(found) as stream:
                return write_file(path, stream, durable=False)

    def lends(self, uri: str) -> bool:
        """See ``BlobStore.lends``; only small objects are written anew."""
        del uri
        return True

    def store_file(self, source: BinaryIO, uri: str) -> int:
        """Write one object; see ``BlobStore.store_file``."""
        place = parse_s3_uri(uri)
        if not place.key:
            raise InputError(f"an object needs a key, got {uri!r}")
        source.seek(0)
        facts = Facts({"content-type": CONTENT_TYPE})
        try:
            self._buckets.check_key(place.bucket, place.key)
            with self._buckets.writer() as writer:
                while chunk := source.read(CHUNK_BYTES):
                    writer.write(chunk)
                content, etag = writer.finish(), writer.etag
                self._buckets.put(place.bucket, place.key, content, etag, facts)
        except NoSuchBucket as error:
            raise _no_bucket(uri) from error
        return content.size

    def download(
        self,
        uri: str,
        directory: Path,
        *,
        selection: Selection = EVERYTHING,
        writable: bool = True,
    ) -> Transfer:
        """Put the objects of a prefix below a directory; see ``BlobStore.download``."""
        files = transfer.select_files(self, uri, selection)
        return transfer.download_files(self, files, directory, writable=writable, workers=WORKERS)

    def upload(self, path: Path, uri: str, *, link: bool = False) -> Transfer:
        """Write a file or a directory's files; see ``BlobStore.upload``."""
        del link  # the bytes must pass by anyway, to be hashed
        place = parse_s3_uri(uri)
        if not path.is_dir() or path.is_symlink():
            with transfer.open_regular(path) as stream:
                return Transfer(1, self.store_file(stream, uri))

        def put(name: str, stream: BinaryIO) -> int:
            return self.store_file(stream, place.child("/".join(split_name(name))).uri)

        return transfer.upload_directory(path, put, workers=WORKERS)

    def discard_partial(self, uri: str) -> None:
        """Abort uploads in parts that were begun; see ``BlobStore.discard_partial``."""
        place = parse_s3_uri(uri)
        while begun := self._buckets.list_uploads(place.bucket, _as_prefix(place.key)):
            for upload in begun:
                with suppress(NoSuchUpload):  # somebody else was first
                    self._buckets.abort_upload(place.bucket, upload)

    def check_writable(self, uri: str) -> None:
        """See ``BlobStore.check_writable``."""
        if not self.holds(uri):
            raise _no_bucket(uri)

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Yield the objects of a prefix; see ``BlobStore.list``."""
        place = parse_s3_uri(uri)
        if not place.key.endswith("/") and (single := self.stat(uri)) is not None:
            yield single
        yield from self._named(place, _as_prefix(place.key), place.key)

    def list_beginning(self, uri: str) -> Iterator[ObjectInfo]:
        """See ``BlobStore.list_beginning``."""
        place = parse_s3_uri(uri)
        return self._named(place, place.key, folder_of(place.key))

    def _named(self, place: S3Location, prefix: str, below: str) -> Iterator[ObjectInfo]:
        for found in self._objects(place, prefix):
            name = relative_key(found.key, below)
            if name is not None:
                yield _info(name, S3Location(place.bucket, found.key), found)

    def _objects(
        self, place: S3Location, prefix: str, limit: int = PAGE_KEYS
    ) -> Iterator[StoredObject]:
        after = ""
        while True:
            try:
                page = self._buckets.list(place.bucket, ListQuery(prefix, "", after, limit))
            except NoSuchBucket as error:
                raise _no_bucket(place.uri) from error
            yield from page.objects
            if page.next_after is None:
                return
            after = page.next_after


def _info(key: str, place: S3Location, found: StoredObject) -> ObjectInfo:
    # The content's name changes with every byte; an ETag of S3 only with most.
    return ObjectInfo(key, found.size, found.content.name, place.uri)


def _as_prefix(key: str) -> str:
    return key if not key or key.endswith("/") else f"{key}/"


def _no_bucket(uri: str) -> InputError:
    return InputError(f"the bucket of {uri} must exist, it does not; make it, or name another")

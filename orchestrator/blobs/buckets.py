"""Buckets and objects of a home: what the S3 gateway serves, and jobs read without it.

Rows lie in ``<home>/buckets.sqlite3``, bytes by their digest on the home's shelf of blobs. No part
of a key ever becomes part of a path.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import BinaryIO

from orchestrator.blobs import bucket_index as index
from orchestrator.blobs import bucket_uploads as rows
from orchestrator.blobs.bucket_content import ContentWriter, Hasher
from orchestrator.blobs.bucket_database import BucketDatabase
from orchestrator.blobs.bucket_errors import NoSuchKey, NoSuchUpload, PreconditionFailed
from orchestrator.blobs.bucket_parts import PartFiles, PartWriter
from orchestrator.blobs.bucket_values import (
    SMALL,
    Condition,
    Content,
    Facts,
    ListQuery,
    NamedPart,
    Page,
    Part,
    StoredObject,
    Upload,
    check_bucket_name,
    key_bytes,
)
from orchestrator.blobs.shelf import Shelf
from orchestrator.clock import Clock, SystemClock

DATABASE_FILE = "buckets.sqlite3"
ALWAYS = Condition()

Combine = Callable[[Sequence[Part], Facts], dict[str, str]]
"""Returns the checksums of an object from those of its parts; raises what refuses it."""


class BucketStore:
    """All buckets of a home. Methods block; any thread and process may call them at once.

    Args:
        home: Nothing is made in it before the first call that needs it.
        clock: The time.
    """

    def __init__(self, home: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._database = BucketDatabase(home / DATABASE_FILE)
        self.shelf = Shelf(home / "blobs")
        self._parts = PartFiles(self.shelf)

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # Buckets.

    def create_bucket(self, name: str) -> None:
        """Make a bucket.

        Raises:
            InvalidBucketName: Its name breaks S3's rule.
            BucketExists: It is there already.
        """
        check_bucket_name(name)
        self._database.write(lambda db: index.add_bucket(db, name, self._now()))

    def has_bucket(self, name: str) -> bool:
        """Say whether a bucket is there; makes nothing."""
        if not self._database.path.exists():
            return False
        with self._database.read() as db:
            return (
                db.execute("SELECT 1 FROM buckets WHERE name = ?", (name,)).fetchone() is not None
            )

    def bucket_created(self, name: str) -> float:
        """Return when a bucket was made, in epoch seconds.

        Raises:
            NoSuchBucket: There is none.
        """
        with self._database.read() as db:
            return index.bucket_created(db, name)

    def list_buckets(self) -> list[tuple[str, float]]:
        """Return names and times of making."""
        with self._database.read() as db:
            return list(db.execute("SELECT name, created FROM buckets ORDER BY name"))

    def delete_bucket(self, name: str) -> None:
        """Remove an empty bucket.

        Raises:
            NoSuchBucket: There is none.
            BucketNotEmpty: It has objects.
        """
        self._database.write(lambda db: index.remove_bucket(db, name))

    # Objects.

    def writer(self, also: Sequence[Hasher] = ()) -> ContentWriter:
        """Return a writer for the bytes of an object; ``put`` then names them."""
        return ContentWriter(self.shelf, also)

    def check_key(self, bucket: str, key: str) -> None:
        """Check what can be before any byte is taken.

        Raises:
            NoSuchBucket: There is no such bucket.
            InvalidKey: The key cannot be one.
        """
        key_bytes(key)
        self.bucket_created(bucket)

    def put(
        self,
        bucket: str,
        key: str,
        content: Content,
        etag: str,
        facts: Facts,
        condition: Condition = ALWAYS,
    ) -> StoredObject:
        """Make or replace an object; durable and visible, as a whole, when it returns.

        Raises:
            NoSuchBucket: There is no such bucket.
            NoSuchKey: The present object's ETag was to match, and there is none.
            InvalidKey: The key cannot be one.
            PreconditionFailed: The condition is not true.
        """
        stored = StoredObject(key, content, etag, self._now(), facts)
        key_bytes(key)
        self._database.write(lambda db: index.put(db, bucket, stored, condition))
        return stored

    def get(self, bucket: str, key: str) -> StoredObject:
        """Return an object.

        Raises:
            NoSuchBucket: There is no such bucket.
            NoSuchKey: There is no such object.
        """
        with self._database.read() as db:
            return index.get(db, bucket, key)

    def file_of(self, stored: StoredObject) -> Path | None:
        """Return the read-only file with an object's bytes; None if it is too small for one."""
        content = stored.content
        return None if content.kind == SMALL else self.shelf.path(content.kind, content.name)

    def open(self, stored: StoredObject) -> BinaryIO:
        """Open an object's bytes. The caller closes it.

        Raises:
            NoSuchKey: They are gone: the object was removed and collected meanwhile.
        """
        path = self.file_of(stored)
        try:
            return io.BytesIO(self._small(stored)) if path is None else path.open("rb")
        except FileNotFoundError:
            raise NoSuchKey(f"{stored.key!r} has just been removed") from None

    def _small(self, stored: StoredObject) -> bytes:
        if stored.content.data is not None:
            return stored.content.data
        with self._database.read() as db:
            data = index.small_bytes(db, stored.content)
        if data is None:
            raise NoSuchKey(f"{stored.key!r} has just been removed")
        return data

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove objects in one transaction; missing ones are no error.

        Raises:
            NoSuchBucket: There is no such bucket.
            InvalidKey: A key cannot be one; nothing was removed.
        """
        wanted = list(keys)

        def work(db: Connection) -> None:
            for key in wanted:
                index.remove(db, bucket, key)

        self._database.write(work)

    def delete_if(self, bucket: str, key: str, etag: str) -> None:
        """Remove an object that has this ETag (``*`` = any).

        Raises:
            NoSuchKey: There is none.
            PreconditionFailed: It has another one.
        """

        def work(db: Connection) -> None:
            index.check(db, bucket, key, Condition(etag=etag))
            index.remove(db, bucket, key)

        self._database.write(work)

    def copy(
        self,
        source: tuple[str, StoredObject],
        target: tuple[str, str],
        facts: Facts,
        condition: Condition = ALWAYS,
    ) -> StoredObject:
        """Make or replace an object with the bytes of another one; none of them is moved.

        Args:
            source: Bucket and object, as found before.
            target: Bucket and key.
            facts: Of the new object.
            condition: What must be true of the target.

        Raises:
            NoSuchKey: The source is gone.
            PreconditionFailed: The source has changed, or the condition is not true.
        """
        bucket, wanted = source
        stored = StoredObject(target[1], wanted.content, wanted.etag, self._now(), facts)

        def work(db: Connection) -> None:
            present = index.get(db, bucket, wanted.key)
            if present.content != wanted.content:
                raise PreconditionFailed(f"s3://{bucket}/{wanted.key} must not change, it did")
            index.put(db, target[0], stored, condition)

        self._database.write(work)
        return stored

    def list(self, bucket: str, query: ListQuery) -> Page:
        """Return a page of a bucket; see ``bucket_index.list_page``."""
        with self._database.snapshot() as db:
            return index.list_page(db, bucket, query)

    # Uploads in parts.

    def begin_upload(self, bucket: str, key: str, facts: Facts) -> Upload:
        """Begin an upload.

        Raises:
            NoSuchBucket: There is no such bucket.
            InvalidKey: The key cannot be one.
        """
        upload = Upload(secrets.token_hex(32), key, self._now(), facts)
        self._database.write(lambda db: rows.begin(db, bucket, upload))
        return upload

    def find_upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """Return an upload.

        Raises:
            NoSuchUpload: There is no such upload of this key.
        """
        with self._database.read() as db:
            return rows.find(db, bucket, key, upload_id)

    def part_writer(
        self, upload: Upload, number: int, size: int | None, also: Sequence[Hasher] = ()
    ) -> PartWriter:
        """Return a writer for the bytes of a part; ``put_part`` then counts them in."""
        return self._parts.writer(upload.upload_id, number, size, also)

    def put_part(
        self, bucket: str, upload: Upload, number: int, written: PartWriter, sums: dict[str, str]
    ) -> Part:
        """Add or replace a part from a finished writer; durable when it returns.

        Raises:
            NoSuchUpload: The upload is over.
        """
        place = written.place
        part = Part(
            number,
            written.size,
            written.etag,
            written.sha256,
            sums,
            self._now(),
            place.file,
            place.offset,
        )

        def work(db: Connection) -> str | None:
            rows.find(db, bucket, upload.key, upload.upload_id)
            return rows.add_part(db, upload.upload_id, part)

        try:
            replaced = self._database.write(work)
        except NoSuchUpload:
            self._parts.forget(upload.upload_id, [place.file])
            raise
        if replaced is not None:
            self._parts.discard(upload.upload_id, replaced)
        return part

    def list_parts(self, upload: Upload, after: int = 0, limit: int = -1) -> Sequence[Part]:
        """Return parts in the order of their numbers."""
        with self._database.read() as db:
            return rows.parts(db, upload.upload_id, after, limit)

    def list_uploads(
        self, bucket: str, prefix: str = "", after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> Sequence[Upload]:
        """Return uploads in the order of key and id, after a key and id."""
        with self._database.read() as db:
            return rows.uploads(db, bucket, prefix, after, limit)

    def complete_upload(
        self,
        bucket: str,
        upload: Upload,
        named: Sequence[NamedPart],
        combine: Combine,
        condition: Condition = ALWAYS,
    ) -> StoredObject:
        """Make an object of parts; durable and visible, as a whole, when it returns.

        Raises:
            InvalidPart: A named part is not there, or another one.
            InvalidPartOrder: The numbers do not ascend.
            EntityTooSmall: A part that is not the last one is too small.
            NoSuchUpload: The upload is over.
            PreconditionFailed: The condition is not true.
        """
        self.find_upload(bucket, upload.key, upload.upload_id)
        chosen = rows.choose(self.list_parts(upload), named)
        sums = combine(chosen, upload.facts)
        facts = Facts(upload.facts.headers, upload.facts.metadata, sums, upload.upload_id)
        try:
            content = self._parts.join(upload.upload_id, chosen)
        except FileNotFoundError:
            raise NoSuchUpload("the upload has just been completed or aborted") from None
        stored = StoredObject(upload.key, content, rows.etag_of(chosen), self._now(), facts)

        def work(db: Connection) -> list[str]:
            rows.find(db, bucket, upload.key, upload.upload_id)
            index.put(db, bucket, stored, condition)
            return rows.remove(db, upload.upload_id)

        self._parts.forget(upload.upload_id, self._database.write(work))
        return stored

    def abort_upload(self, bucket: str, upload: Upload) -> None:
        """End an upload and remove its parts.

        Raises:
            NoSuchUpload: The upload is over.
        """

        def work(db: Connection) -> list[str]:
            rows.find(db, bucket, upload.key, upload.upload_id)
            return rows.remove(db, upload.upload_id)

        self._parts.forget(upload.upload_id, self._database.write(work))

    # Collection.

    def referenced(self) -> set[str]:
        """Return the names of all files on the shelf that buckets need."""
        if not self._database.path.exists():
            return set()
        with self._database.snapshot() as db:
            return set(index.file_names(db))

    def collect(self) -> int:
        """Remove small content that no object has any more; return the bytes set free."""
        if not self._database.path.exists():
            return 0
        return self._database.write(index.remove_unused_small)

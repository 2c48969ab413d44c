"""Uploads and their parts as rows. Every function works in the caller's transaction."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from itertools import pairwise

from orchestrator.blobs.bucket_errors import (
    EntityTooSmall,
    InvalidPart,
    InvalidPartOrder,
    NoSuchUpload,
)
from orchestrator.blobs.bucket_index import bucket_created, facts_from, facts_text, successor
from orchestrator.blobs.bucket_values import MIN_PART_BYTES, NamedPart, Part, Upload, key_bytes

PART_COLUMNS = "number, size, etag, sha256, checksums, modified, file, place"


def begin(connection: sqlite3.Connection, bucket: str, upload: Upload) -> None:
    """Begin an upload.

    Raises:
        NoSuchBucket: There is no such bucket.
    """
    bucket_created(connection, bucket)
    connection.execute(
        "INSERT INTO uploads VALUES (?, ?, ?, ?, ?)",
        (upload.upload_id, bucket, key_bytes(upload.key), upload.begun, facts_text(upload.facts)),
    )


def find(connection: sqlite3.Connection, bucket: str, key: str, upload_id: str) -> Upload:
    """Return an upload.

    Raises:
        NoSuchBucket: There is no such bucket.
        NoSuchUpload: There is no such upload of this key.
    """
    row = connection.execute(
        "SELECT begun, facts FROM uploads WHERE id = ? AND bucket = ? AND key = ?",
        (upload_id, bucket, key_bytes(key)),
    ).fetchone()
    if row is None:
        bucket_created(connection, bucket)
        raise NoSuchUpload(f"no upload {upload_id!r} of this key has begun, or it is over")
    return Upload(upload_id, key, row[0], facts_from(row[1]))


def add_part(connection: sqlite3.Connection, upload_id: str, part: Part) -> str | None:
    """Add or replace a part; return the file that no part needs any more."""
    old = connection.execute(
        "SELECT file FROM parts WHERE upload = ? AND number = ?", (upload_id, part.number)
    ).fetchone()
    connection.execute(
        "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            upload_id,
            part.number,
            part.size,
            part.etag,
            part.sha256,
            json.dumps(dict(part.checksums)),
            part.modified,
            part.file,
            part.offset,
        ),
    )
    if old is None:
        return None
    needed = connection.execute(
        "SELECT 1 FROM parts WHERE upload = ? AND file = ? LIMIT 1", (upload_id, old[0])
    ).fetchone()
    return None if needed else str(old[0])


def parts(
    connection: sqlite3.Connection, upload_id: str, after: int = 0, limit: int = -1
) -> list[Part]:
    """Return parts in the order of their numbers."""
    rows = connection.execute(
        f"SELECT {PART_COLUMNS} FROM parts WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",  # noqa: S608
        (upload_id, after, limit),
    )
    return [
        Part(number, size, etag, sha256, json.loads(checksums), modified, file, place)
        for number, size, etag, sha256, checksums, modified, file, place in rows
    ]


def uploads(
    connection: sqlite3.Connection, bucket: str, prefix: str, after: tuple[str, str], limit: int
) -> list[Upload]:
    """Return uploads in the order of key and id, after a key and id.

    Raises:
        NoSuchBucket: There is no such bucket.
    """
    bucket_created(connection, bucket)
    begin_key, end_key = prefix.encode(), successor(prefix.encode())
    rows = connection.execute(
        "SELECT id, key, begun, facts FROM uploads WHERE bucket = ? AND key >= ? "
        "AND (? IS NULL OR key < ?) AND (key, id) > (?, ?) ORDER BY key, id LIMIT ?",
        (bucket, begin_key, end_key, end_key, after[0].encode(), after[1], limit),
    )
    return [Upload(row[0], bytes(row[1]).decode(), row[2], facts_from(row[3])) for row in rows]


def remove(connection: sqlite3.Connection, upload_id: str) -> list[str]:
    """Remove an upload and its parts; return the files that no row needs any more."""
    rows = connection.execute("SELECT DISTINCT file FROM parts WHERE upload = ?", (upload_id,))
    files = [str(row[0]) for row in rows]
    connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
    return files


def choose(present: Sequence[Part], named: Sequence[NamedPart]) -> list[Part]:
    """Return the parts that an object is to be made of.

    Raises:
        InvalidPartOrder: Their numbers do not ascend.
        InvalidPart: One was not uploaded, or is another one.
        EntityTooSmall: One that is not the last has less than 5 MiB.
    """
    by_number = {part.number: part for part in present}
    numbers = [part.number for part in named]
    if not numbers or any(b <= a for a, b in pairwise(numbers)):
        raise InvalidPartOrder(f"parts must be named in ascending order, got {numbers[:20]}")
    chosen = []
    for want in named:
        part = by_number.get(want.number)
        sums = part.checksums if part else {}
        differs = any(sums.get(name, value) != value for name, value in want.checksums.items())
        if part is None or part.etag != want.etag.strip('"') or differs:
            raise InvalidPart(
                f"part {want.number} must be uploaded and have the ETag and checksum named, "
                f"got {want.etag!r}"
            )
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < MIN_PART_BYTES:
            raise EntityTooSmall(
                f"every part but the last must have {MIN_PART_BYTES} bytes, part {part.number} "
                f"has {part.size}"
            )
    return chosen


def etag_of(chosen: Sequence[Part]) -> str:
    """Return the ETag of an object made of parts."""
    digests = b"".join(bytes.fromhex(part.etag) for part in chosen)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(chosen)}"

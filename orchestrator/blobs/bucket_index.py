"""Buckets and objects as rows. Every function works in the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

from orchestrator.blobs.bucket_errors import (
    BucketExists,
    BucketNotEmpty,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
)
from orchestrator.blobs.bucket_values import (
    SMALL,
    Condition,
    Content,
    Facts,
    ListQuery,
    Page,
    StoredObject,
    key_bytes,
)

COLUMNS = "key, kind, content, size, etag, modified, facts"
ANYTHING = "*"


def add_bucket(connection: sqlite3.Connection, name: str, created: float) -> None:
    """Make a bucket.

    Raises:
        BucketExists: It is there already.
    """
    added = connection.execute("INSERT OR IGNORE INTO buckets VALUES (?, ?)", (name, created))
    if added.rowcount == 0:
        raise BucketExists(f"a new bucket's name must be free, {name!r} is taken")


def bucket_created(connection: sqlite3.Connection, name: str) -> float:
    """Return when a bucket was made.

    Raises:
        NoSuchBucket: There is none.
    """
    row = connection.execute("SELECT created FROM buckets WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NoSuchBucket(f"the bucket {name!r} must exist, it does not")
    return float(row[0])


def remove_bucket(connection: sqlite3.Connection, name: str) -> None:
    """Remove an empty bucket, and the uploads that have begun in it.

    Raises:
        NoSuchBucket: There is none.
        BucketNotEmpty: It has objects.
    """
    bucket_created(connection, name)
    if connection.execute("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (name,)).fetchone():
        raise BucketNotEmpty(f"a bucket must be empty to be removed, {name!r} has objects")
    connection.execute("DELETE FROM uploads WHERE bucket = ?", (name,))
    connection.execute("DELETE FROM buckets WHERE name = ?", (name,))


def find(connection: sqlite3.Connection, bucket: str, key: str) -> StoredObject | None:
    """Return an object, or None."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM objects WHERE bucket = ? AND key = ?",  # noqa: S608  # our words
        (bucket, key_bytes(key)),
    ).fetchone()
    return None if row is None else _object(row)


def get(connection: sqlite3.Connection, bucket: str, key: str) -> StoredObject:
    """Return an object.

    Raises:
        NoSuchBucket: There is no such bucket.
        NoSuchKey: There is no such object.
    """
    found = find(connection, bucket, key)
    if found is None:
        bucket_created(connection, bucket)
        raise NoSuchKey(f"no object is at s3://{bucket}/{key}; check bucket and key")
    return found


def put(
    connection: sqlite3.Connection, bucket: str, stored: StoredObject, condition: Condition
) -> None:
    """Make or replace an object.

    Raises:
        NoSuchBucket: There is no such bucket.
        NoSuchKey: The present object's ETag was to match, and there is none.
        PreconditionFailed: The condition is not true.
    """
    bucket_created(connection, bucket)
    check(connection, bucket, stored.key, condition)
    content = stored.content
    if content.data is not None:
        connection.execute(
            "INSERT OR IGNORE INTO small VALUES (?, ?)", (content.name, content.data)
        )
    connection.execute(
        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            bucket,
            key_bytes(stored.key),
            content.kind,
            content.name,
            content.size,
            stored.etag,
            stored.modified,
            facts_text(stored.facts),
        ),
    )


def check(connection: sqlite3.Connection, bucket: str, key: str, condition: Condition) -> None:
    """Check what must be true of the present object.

    Raises:
        NoSuchKey: The present object's ETag was to match, and there is none.
        PreconditionFailed: The condition is not true.
    """
    if not condition.absent and condition.etag is None:
        return
    present = find(connection, bucket, key)
    if condition.absent and present is not None:
        raise PreconditionFailed(f"nothing must be at s3://{bucket}/{key}, an object is")
    if condition.etag is None:
        return
    if present is None:
        raise NoSuchKey(f"no object is at s3://{bucket}/{key}; check bucket and key")
    if condition.etag not in {ANYTHING, present.etag}:
        raise PreconditionFailed(
            f"s3://{bucket}/{key} must have the ETag {condition.etag}, it has {present.etag}"
        )


def remove(connection: sqlite3.Connection, bucket: str, key: str) -> None:
    """Remove an object; a missing one is no error.

    Raises:
        NoSuchBucket: There is no such bucket.
    """
    bucket_created(connection, bucket)
    connection.execute(
        "DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key_bytes(key))
    )


def small_bytes(connection: sqlite3.Connection, content: Content) -> bytes | None:
    """Return the bytes of small content; None when they are gone."""
    row = connection.execute(
        "SELECT data FROM small WHERE content = ?", (content.name,)
    ).fetchone()
    return None if row is None else bytes(row[0])


def list_page(connection: sqlite3.Connection, bucket: str, query: ListQuery) -> Page:
    """Return a page of a bucket.

    Keys below a delimiter are one common prefix: the scan goes on behind it, so that it costs one
    search in the index however many keys it has.

    Raises:
        NoSuchBucket: There is no such bucket.
    """
    bucket_created(connection, bucket)
    objects: list[StoredObject] = []
    prefixes: list[str] = []
    last = ""
    for item in _entries(connection, bucket, query):
        if len(objects) + len(prefixes) == query.limit:
            return Page(tuple(objects), tuple(prefixes), last or query.after)
        if isinstance(item, str):
            prefixes.append(item)
            last = item
        else:
            objects.append(item)
            last = item.key
    return Page(tuple(objects), tuple(prefixes))


def _entries(
    connection: sqlite3.Connection, bucket: str, query: ListQuery
) -> Iterator[StoredObject | str]:
    prefix, delimiter = query.prefix.encode(), query.delimiter.encode()
    start: bytes | None = max(prefix, _start(query, prefix, delimiter))
    end = successor(prefix)
    while start is not None:
        rows = _scan(connection, bucket, start, end)
        start = None
        for row in rows:
            common = _common_prefix(bytes(row[0]), prefix, delimiter)
            if common is None:
                yield _object(row)
                continue
            yield common.decode()
            start = successor(common)
            break
        rows.close()


def _start(query: ListQuery, prefix: bytes, delimiter: bytes) -> bytes:
    """Return the least key to look at."""
    after = query.after.encode()
    if not after:
        return b""
    if _common_prefix(after, prefix, delimiter) == after:
        return successor(after) or after
    return after + b"\0"


def _common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    if not delimiter or not key.startswith(prefix):
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]


def _scan(
    connection: sqlite3.Connection, bucket: str, start: bytes, end: bytes | None
) -> sqlite3.Cursor:
    bound, values = ("", ()) if end is None else (" AND key < ?", (end,))
    return connection.execute(
        f"SELECT {COLUMNS} FROM objects WHERE bucket = ? AND key >= ?{bound} ORDER BY key",  # noqa: S608
        (bucket, start, *values),
    )


def successor(prefix: bytes) -> bytes | None:
    """Return the least string above all that begin so; None when there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


def facts_text(facts: Facts) -> str:
    """Return facts as they are stored."""
    parts = (dict(facts.headers), dict(facts.metadata), dict(facts.checksums), facts.upload)
    return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)


def facts_from(text: str) -> Facts:
    """Return stored facts."""
    return Facts(*json.loads(text))


def _object(row: tuple[bytes, str, str, int, str, float, str]) -> StoredObject:
    key, kind, name, size, etag, modified, facts = row
    return StoredObject(
        bytes(key).decode(), Content(kind, name, size), etag, modified, facts_from(facts)
    )


def file_names(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield the names of all files that rows refer to."""
    rows = connection.execute("SELECT DISTINCT content FROM objects WHERE kind != ?", (SMALL,))
    yield from (row[0] for row in rows)
    yield from (row[0] for row in connection.execute("SELECT DISTINCT file FROM parts"))


def remove_unused_small(connection: sqlite3.Connection) -> int:
    """Remove small content that no object has any more; return the bytes set free."""
    unused = "NOT EXISTS (SELECT 1 FROM objects WHERE content = small.content AND kind = ?)"
    (freed,) = connection.execute(
        f"SELECT coalesce(sum(length(data)), 0) FROM small WHERE {unused}",  # noqa: S608
        (SMALL,),
    ).fetchone()
    connection.execute(f"DELETE FROM small WHERE {unused}", (SMALL,))  # noqa: S608
    return int(freed)

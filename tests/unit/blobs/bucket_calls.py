"""Short forms of what the tests of buckets do again and again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.blobs.bucket_values import (
    Condition,
    Facts,
    ListQuery,
    NamedPart,
    Part,
    StoredObject,
    Upload,
)
from orchestrator.blobs.buckets import BucketStore
from orchestrator.clock import SystemClock

MIB = 1024 * 1024
LEAST_PART = 5 * MIB
ALWAYS = Condition()


def put(
    store: BucketStore, key: str, data: bytes = b"content", condition: Condition = ALWAYS
) -> StoredObject:
    """Write an object to the bucket `data`."""
    with store.writer() as writer:
        writer.write(data)
        content = writer.finish()
        return store.put("data", key, content, writer.etag, Facts(), condition)


def read(store: BucketStore, key: str) -> bytes:
    """Content of an object of the bucket `data`."""
    with store.open(store.get("data", key)) as stream:
        return stream.read()


def names(store: BucketStore, **query: str | int) -> list[str]:
    """Keys and common prefixes of one page."""
    page = store.list("data", ListQuery(**query))  # type: ignore[arg-type]
    return sorted([*(found.key for found in page.objects), *page.prefixes])


def put_part(store: BucketStore, upload: Upload, number: int, data: bytes) -> Part:
    """Write a part."""
    with store.part_writer(upload, number, len(data)) as writer:
        writer.write(data)
        writer.finish()
        return store.put_part("data", upload, number, writer, {})


def complete(
    store: BucketStore,
    upload: Upload,
    parts: Iterable[Part],
    condition: Condition = ALWAYS,
) -> StoredObject:
    """Make an object of parts."""
    named = [NamedPart(part.number, part.etag) for part in parts]
    return store.complete_upload("data", upload, named, no_checksum, condition)


def no_checksum(_parts: Sequence[Part], _facts: Facts) -> dict[str, str]:
    """Combine nothing."""
    return {}


def soon() -> float:
    """Epoch seconds at which all that is there now is old."""
    return SystemClock().now().timestamp() + 10

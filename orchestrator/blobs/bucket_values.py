"""What is known of buckets, objects and uploads: frozen values, and the rules of their names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.blobs.bucket_errors import InvalidBucketName, InvalidKey

MAX_KEY_BYTES = 1024
MAX_PART_NUMBER = 10_000
MIN_PART_BYTES = 5 * 1024 * 1024
"""Least size of a part that is not the last one."""

SMALL = "small"
"""Kind of content whose bytes lie in the database; the other kinds are those of the shelf."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that are kept: where, and how many."""

    kind: str
    """``small``, or a kind of the shelf: ``sha256``, ``tree``."""
    name: str
    """64 hexadecimal digits; equal names of one kind mean equal bytes."""
    size: int
    data: bytes | None = None
    """Of small content that is not in the database yet."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a writer says of an object."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that are given back, lower case: ``content-type``, ``cache-control`` …"""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The user's own, without their ``x-amz-meta-``."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Algorithm -> base64 of the sum; ``type`` -> ``FULL_OBJECT`` or ``COMPOSITE``."""
    upload: str = ""
    """Id of the upload in parts that made the object."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object."""

    key: str
    content: Content
    etag: str
    """Without quotes: MD5 of the bytes; of parts, MD5 of their MD5s and their number."""
    modified: float
    """Epoch seconds."""
    facts: Facts = field(default_factory=Facts)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.content.size


@dataclass(frozen=True, slots=True)
class Condition:
    """What must be true for a write to happen, decided in the write's own transaction."""

    absent: bool = False
    """Nothing has the key yet: ``If-None-Match: *``."""
    etag: str | None = None
    """The present object has this ETag; ``*`` = there is one: ``If-Match``."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which keys of a bucket are asked for."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    """Only keys after this one; a common prefix that ends here counts as seen."""
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Objects and common prefixes in the order of their UTF-8 bytes."""

    objects: tuple[StoredObject, ...] = ()
    prefixes: tuple[str, ...] = ()
    next_after: str | None = None
    """Go on with ``ListQuery.after``; None = that was all."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that has begun."""

    upload_id: str
    key: str
    begun: float
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an upload; its bytes lie in a file of the shelf's incoming room."""

    number: int
    size: int
    etag: str
    sha256: str
    checksums: Mapping[str, str]
    modified: float
    file: str
    offset: int


@dataclass(frozen=True, slots=True)
class NamedPart:
    """A part as the completing client names it."""

    number: int
    etag: str
    checksums: Mapping[str, str] = field(default_factory=dict)


def check_bucket_name(name: str) -> None:
    """Check a new bucket's name.

    Raises:
        InvalidBucketName: It breaks S3's rule.
    """
    good = _BUCKET.fullmatch(name) and ".." not in name and not _is_address(name)
    if good and not name.startswith(_RESERVED_STARTS) and not name.endswith(_RESERVED_ENDS):
        return
    raise InvalidBucketName(
        "a bucket name must have 3 to 63 lower-case letters, digits, dots and hyphens, begin and "
        f"end with a letter or digit, and be no IP address; got {name!r}"
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def key_bytes(key: str) -> bytes:
    """Return a key as it is stored.

    Raises:
        InvalidKey: It is empty, too long or not UTF-8.
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise InvalidKey(f"a key must be UTF-8, got {key!r}") from None
    if not 0 < len(encoded) <= MAX_KEY_BYTES:
        raise InvalidKey(f"a key must have 1 to {MAX_KEY_BYTES} bytes, got {len(encoded)}")
    return encoded

"""If-* conditions and ranges of reads. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.api.aws.errors import AwsError
from orchestrator.blobs.bucket_values import Condition, StoredObject

FAILED = "At least one of the pre-conditions you specified did not hold"
_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII)
_COPY_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})", re.ASCII)


class NotModified(Exception):
    """The client has the present state already."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which bytes of an object: from ``start`` up to, not including, ``end``."""

    start: int
    end: int


def check_read(found: StoredObject, given: dict[str, Any], *, prefix: str = "") -> None:
    """Check the conditions of a read, in HTTP's order.

    Args:
        found: The object.
        given: With IfMatch and the like.
        prefix: ``CopySource`` for the source of a copy.

    Raises:
        AwsError: PreconditionFailed.
        NotModified: The client has it; not for copies.
    """
    match, none_match = given.get(f"{prefix}IfMatch"), given.get(f"{prefix}IfNoneMatch")
    since: datetime | None = given.get(f"{prefix}IfModifiedSince")
    until: datetime | None = given.get(f"{prefix}IfUnmodifiedSince")
    changed = int(found.modified)
    if match is not None:
        if not _names(match, found.etag):
            raise failed("If-Match")
    elif until is not None and changed > until.timestamp():
        raise failed("If-Unmodified-Since")
    seen = none_match is not None and _names(none_match, found.etag)
    if none_match is None and since is not None:
        seen = changed <= since.timestamp()
    if seen and prefix:
        raise failed("x-amz-copy-source-If-None-Match")
    if seen:
        raise NotModified


def failed(condition: str) -> AwsError:
    """Return the error of a condition that is not true."""
    return AwsError("PreconditionFailed", f"{FAILED} (Condition: {condition})", 412)


def _names(header: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return "*" in tags or etag in tags


def write_condition(given: dict[str, Any]) -> Condition:
    """Return the condition of a write.

    Raises:
        AwsError: NotImplemented, for conditions that S3 does not have either.
    """
    none_match, match = given.get("IfNoneMatch"), given.get("IfMatch")
    if none_match not in {None, "*"} or (none_match and match):
        raise AwsError(
            "NotImplemented",
            "of conditions, a write may have either `If-None-Match: *` or `If-Match: <etag>`",
            501,
        )
    return Condition(absent=none_match == "*", etag=match and match.strip('"'))


def read_range(header: str | None, size: int) -> Span | None:
    """Return the bytes that a Range header asks for; None = all, also where it is none of ours.

    Raises:
        AwsError: InvalidRange.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or not any(found.groups()) or max(map(len, found.groups())) > 18:
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < start:
        return None
    if start >= size or (not first and int(last) == 0):
        raise AwsError("InvalidRange", "The requested range is not satisfiable", 416)
    return Span(start, end)


def copy_range(header: str | None, size: int) -> Span:
    """Return the bytes of a copy's source.

    Raises:
        AwsError: InvalidArgument or InvalidRange.
    """
    if header is None:
        return Span(0, size)
    found = _COPY_RANGE.fullmatch(header)
    if found is None:
        raise AwsError(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
        )
    start, end = int(found[1]), int(found[2]) + 1
    if not start < end <= size:
        raise AwsError(
            "InvalidRange",
            f"Range specified is not valid for source object of size: {size}",
            416,
        )
    return Span(start, end)

"""Operations on buckets, and lists of what is in them."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.s3 import xml
from orchestrator.api.aws.s3.context import (
    DEFAULT_REGION,
    NO_VERSION,
    OWNER,
    Asked,
    as_header,
    modified,
    page_size,
    quoted,
)
from orchestrator.api.aws.s3.wire import NAMESPACE, Values
from orchestrator.blobs.bucket_errors import BucketExists
from orchestrator.blobs.bucket_values import ListQuery, Page, StoredObject
from orchestrator.clock import from_epoch

MOST_BUCKETS = 10_000


def list_buckets(asked: Asked) -> Values:
    """All buckets; they are one account's."""
    prefix = asked.given.get("Prefix", "")
    rows = [row for row in asked.store.list_buckets() if row[0].startswith(prefix)]
    after = _token(asked.given.get("ContinuationToken"))
    most = page_size(asked.given, "MaxBuckets", MOST_BUCKETS)
    rows = [row for row in rows if row[0] > after]
    shown = rows[:most]
    return {
        "Owner": OWNER,
        "Buckets": [{"Name": name, "CreationDate": from_epoch(when)} for name, when in shown],
        "Prefix": asked.given.get("Prefix"),
        "ContinuationToken": _as_token(shown[-1][0]) if shown and len(rows) > most else None,
    }


def create_bucket(asked: Asked) -> Values:
    """Make a bucket; to make one's own again is fine in us-east-1 only, as on AWS."""
    try:
        asked.store.create_bucket(asked.bucket)
    except BucketExists:
        if asked.caller.region != DEFAULT_REGION:
            raise
    return {"Location": f"/{asked.bucket}"}


def head_bucket(asked: Asked) -> Values:
    """Say whether a bucket is there."""
    asked.store.bucket_created(asked.bucket)
    return {"BucketRegion": as_header(asked.caller.region), "AccessPointAlias": False}


def delete_bucket(asked: Asked) -> Values:
    """Remove an empty bucket."""
    asked.store.delete_bucket(asked.bucket)
    return {}


async def get_bucket_location(asked: Asked) -> Response:
    """Name the region that is asked in; a bucket here is in all of them."""
    await asked.threads.run(asked.store.bucket_created, asked.bucket)
    region = "" if asked.caller.region == DEFAULT_REGION else asked.caller.region
    body = f'{xml.HEAD}<LocationConstraint xmlns="{NAMESPACE}">{xml.escape(region)}</LocationConstraint>'
    return Response(body.encode(), media_type="application/xml")


def list_objects_v2(asked: Asked) -> Values:
    """One page of a bucket."""
    given = asked.given
    after = given.get("StartAfter", "")
    if "ContinuationToken" in given:
        after = _token(given["ContinuationToken"])
    limit, page = _page(asked, after)
    encode = _encoder(given)
    return {
        **_common(asked, limit, page),
        "KeyCount": len(page.objects) + len(page.prefixes),
        "ContinuationToken": given.get("ContinuationToken"),
        "NextContinuationToken": _as_token(page.next_after) if page.next_after else None,
        "StartAfter": encode(given["StartAfter"]) if "StartAfter" in given else None,
        "Contents": [
            _entry(stored, encode, with_owner=given.get("FetchOwner", False))
            for stored in page.objects
        ],
    }


def list_objects(asked: Asked) -> Values:
    """One page of a bucket, in the older form."""
    marker = asked.given.get("Marker", "")
    limit, page = _page(asked, marker)
    encode = _encoder(asked.given)
    has_next = page.next_after is not None and asked.given.get("Delimiter")
    return {
        **_common(asked, limit, page),
        "Marker": encode(marker),
        "NextMarker": encode(page.next_after) if has_next and page.next_after else None,
        "Contents": [_entry(stored, encode, with_owner=True) for stored in page.objects],
    }


def list_object_versions(asked: Asked) -> Values:
    """One page of a bucket, each object as its only version."""
    given = asked.given
    after, version = given.get("KeyMarker", ""), given.get("VersionIdMarker", "")
    if version and not after:
        raise AwsError(
            "InvalidArgument", "A version-id marker cannot be specified without a key marker."
        )
    if version not in {"", NO_VERSION}:
        raise AwsError("InvalidArgument", "Invalid version id specified")
    limit, page = _page(asked, after)
    encode = _encoder(given)
    has_next = page.next_after is not None
    return {
        **_common(asked, limit, page),
        "KeyMarker": encode(after),
        "VersionIdMarker": version,
        "NextKeyMarker": encode(page.next_after) if has_next else None,
        "NextVersionIdMarker": NO_VERSION if has_next else None,
        "Versions": [
            {**_entry(stored, encode, with_owner=True), "VersionId": NO_VERSION, "IsLatest": True}
            for stored in page.objects
        ],
    }


def _page(asked: Asked, after: str) -> tuple[int, Page]:
    given = asked.given
    limit = page_size(given, "MaxKeys")
    if given.get("EncodingType", "url") != "url":
        raise AwsError("InvalidArgument", "Invalid Encoding Method specified in Request")
    if limit == 0:
        asked.store.bucket_created(asked.bucket)
        return 0, Page()
    prefix, delimiter = given.get("Prefix", ""), given.get("Delimiter", "")
    return limit, asked.store.list(asked.bucket, ListQuery(prefix, delimiter, after, limit))


def _common(asked: Asked, limit: int, page: Page) -> Values:
    given = asked.given
    encode = _encoder(given)
    return {
        "Name": asked.bucket,
        "Prefix": encode(given.get("Prefix", "")),
        "Delimiter": encode(given["Delimiter"]) if given.get("Delimiter") else None,
        "MaxKeys": limit,
        "EncodingType": given.get("EncodingType"),
        "IsTruncated": page.next_after is not None,
        "CommonPrefixes": [{"Prefix": encode(prefix)} for prefix in page.prefixes],
    }


def _encoder(given: Values) -> Any:
    return quote if given.get("EncodingType") == "url" else str


def _entry(stored: StoredObject, encode: Any, *, with_owner: bool) -> Values:
    sums = stored.facts.checksums
    return {
        "Key": encode(stored.key),
        "LastModified": modified(stored),
        "ETag": quoted(stored.etag),
        "Size": stored.size,
        "StorageClass": "STANDARD",
        "Owner": OWNER if with_owner else None,
        "ChecksumAlgorithm": [name for name in sums if name != "type"],
        "ChecksumType": sums.get("type"),
    }


def _as_token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _token(text: str | None) -> str:
    try:
        return base64.b64decode((text or "").encode("ascii"), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise AwsError("InvalidArgument", "The continuation token provided is incorrect") from None

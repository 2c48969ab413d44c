"""What every operation gets, and the words that several of them use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.s3 import checksums
from orchestrator.api.aws.s3.model import Operation
from orchestrator.api.aws.s3.threads import Threads
from orchestrator.blobs.bucket_values import Facts, StoredObject
from orchestrator.blobs.buckets import BucketStore
from orchestrator.clock import from_epoch

NO_VERSION = "null"
"""Id of the only version of an object."""
OWNER = {"ID": "0" * 64, "DisplayName": "orchestrator"}
NO_SUCH_VERSION = "The specified version does not exist."
DEFAULT_REGION = "us-east-1"
DEFAULT_TYPE = "binary/octet-stream"
KEPT_HEADERS = {
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentType": "content-type",
    "Expires": "expires",
}
"""Members of the model whose headers are given back with the object."""
REFUSED = {
    "IfMatchLastModifiedTime": "conditions of directory buckets",
    "IfMatchSize": "conditions of directory buckets",
    "MFA": "MFA deletes",
    "ObjectLockLegalHoldStatus": "object locks",
    "ObjectLockMode": "object locks",
    "SSECustomerAlgorithm": "keys of the customer",
    "SSECustomerKey": "keys of the customer",
    "CopySourceSSECustomerKey": "keys of the customer",
    "WriteOffsetBytes": "appending",
}
"""Members that must not be ignored, and what they ask for."""


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        operation: What is asked for.
        bucket: Its name, or empty.
        key: Its name, or empty.
        given: All else, by the model's names.
        request: As it came.
        caller: Who signed it.
        store: The buckets.
        threads: For what blocks.
    """

    operation: Operation
    bucket: str
    key: str
    given: dict[str, Any]
    request: Request
    caller: Caller
    store: BucketStore
    threads: Threads


def check_supported(given: Mapping[str, Any]) -> None:
    """Refuse what would be a lie to ignore.

    Raises:
        AwsError: NotImplemented or NoSuchVersion.
    """
    for member, what in REFUSED.items():
        if member in given:
            raise AwsError(
                "NotImplemented", f"{what} are not implemented here; leave {member} out", 501
            )
    if given.get("VersionId", NO_VERSION) != NO_VERSION:
        raise AwsError("NoSuchVersion", NO_SUCH_VERSION, 404)


def facts_of(asked: Asked, sums: Mapping[str, str]) -> Facts:
    """Return what the request says of a new object."""
    headers = {
        wire: text
        for member, wire in KEPT_HEADERS.items()
        if member in asked.given and (text := asked.request.headers.get(wire))
    }
    if "content-encoding" in headers:
        parts = (part.strip() for part in headers["content-encoding"].split(","))
        headers["content-encoding"] = ",".join(part for part in parts if part != "aws-chunked")
        if not headers["content-encoding"]:
            del headers["content-encoding"]
    headers.setdefault("content-type", DEFAULT_TYPE)
    metadata = asked.given.get("Metadata", {})
    if sum(len(name) + len(text) for name, text in metadata.items()) > 2048:
        raise AwsError(
            "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size"
        )
    return Facts(headers, metadata, dict(sums))


def with_type(sums: Mapping[str, str], kind: str = checksums.FULL_OBJECT) -> dict[str, str]:
    """Return checksums with what they are of."""
    return {**sums, "type": kind} if sums else {}


def checksum_members(sums: Mapping[str, str]) -> dict[str, str]:
    """Return checksums by the model's names."""
    found = {f"Checksum{name}": value for name, value in sums.items() if name != "type"}
    return {**found, "ChecksumType": sums["type"]} if "type" in sums else found


def page_size(given: Mapping[str, Any], member: str, most: int = 1000) -> int:
    """Return how many entries a page may have.

    Raises:
        AwsError: InvalidArgument: it is negative.
    """
    asked = int(given.get(member, most))
    if asked < 0:
        raise AwsError(
            "InvalidArgument", f"Argument {member} must be an integer between 0 and 2147483647"
        )
    return min(asked, most)


def as_header(text: str) -> str:
    """Return text that did not come in a header as one that is sent: UTF-8, on one line.

    Raises:
        AwsError: InvalidArgument: it would be more than one header.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise AwsError("InvalidArgument", "a header must not have control characters")
    return text.encode().decode("latin-1")  # how Starlette takes bytes


def quoted(etag: str) -> str:
    """Return an ETag as it is sent."""
    return f'"{etag}"'


def modified(stored: StoredObject) -> datetime:
    """Return when an object was written."""
    return from_epoch(stored.modified)

"""Operations on single objects."""

from __future__ import annotations

from contextlib import ExitStack
from io import BytesIO
from typing import Any, BinaryIO

from starlette.responses import Response

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.s3 import refusals
from orchestrator.api.aws.s3.address import read_copy_source
from orchestrator.api.aws.s3.body import Intake
from orchestrator.api.aws.s3.conditions import (
    Span,
    check_read,
    read_range,
    write_condition,
)
from orchestrator.api.aws.s3.context import (
    NO_SUCH_VERSION,
    NO_VERSION,
    Asked,
    as_header,
    checksum_members,
    facts_of,
    modified,
    quoted,
    with_type,
)
from orchestrator.api.aws.s3.sending import ObjectAnswer
from orchestrator.api.aws.s3.wire import Values, answer, header_text, output_headers
from orchestrator.blobs.bucket_content import ContentWriter
from orchestrator.blobs.bucket_errors import NoSuchKey, PreconditionFailed
from orchestrator.blobs.bucket_values import Facts, StoredObject

MOST_DELETED = 1000
CHECKED_FIRST_BYTES = 128 * 1024
"""Smaller bodies come in anyway; the write itself finds out what is wrong."""
OVERRIDES = {
    "ResponseCacheControl": "cache-control",
    "ResponseContentDisposition": "content-disposition",
    "ResponseContentEncoding": "content-encoding",
    "ResponseContentLanguage": "content-language",
    "ResponseContentType": "content-type",
    "ResponseExpires": "expires",
}


async def put_object(asked: Asked) -> Response:
    """Write an object."""
    condition = write_condition(asked.given)
    intake = Intake(asked.request, asked.caller, asked.threads)
    if intake.claims.size > CHECKED_FIRST_BYTES:
        await asked.threads.run(asked.store.check_key, asked.bucket, asked.key)

    def put(writer: ContentWriter) -> StoredObject:
        sums = intake.finish(writer)
        facts = facts_of(asked, with_type(sums))
        content = writer.finish()
        return asked.store.put(asked.bucket, asked.key, content, writer.etag, facts, condition)

    with asked.store.writer(intake.observers) as writer:
        await intake.into(writer)
        stored = await asked.threads.run(put, writer)
    values = {"ETag": quoted(stored.etag), **checksum_members(stored.facts.checksums)}
    return answer(asked.operation, values, {})


async def get_object(asked: Asked) -> Response:
    """Read an object, or a part of it."""

    def opened() -> tuple[StoredObject, BinaryIO]:
        found = asked.store.get(asked.bucket, asked.key)
        check_read(found, asked.given)
        return found, asked.store.open(found)

    found, stream = await asked.threads.run(opened)
    with ExitStack() as closing:
        closing.callback(stream.close)
        status, span, headers = _reading(asked, found)
        if isinstance(stream, BytesIO):  # nothing to wait for
            data = stream.getvalue()[span.start : span.end]
            return Response(data, status_code=status, headers=headers)
        closing.pop_all()
    return ObjectAnswer(stream, span, status, headers, asked.threads)


async def head_object(asked: Asked) -> Response:
    """Describe an object."""
    found = await asked.threads.run(asked.store.get, asked.bucket, asked.key)
    check_read(found, asked.given)
    status, _, headers = _reading(asked, found)
    return Response(status_code=status, headers=headers)


def _reading(asked: Asked, found: StoredObject) -> tuple[int, Span, dict[str, str]]:
    given = asked.given
    span = read_range(given.get("Range"), found.size)
    if "PartNumber" in given:
        if given["PartNumber"] != 1 or found.facts.upload:
            raise AwsError(
                "NotImplemented",
                "PartNumber may be 1 of an object that was written in one piece only; use Range",
                501,
            )
        span = Span(0, found.size)
    headers = {**found.facts.headers, "accept-ranges": "bytes"}
    headers |= output_headers(asked.operation, _described(found))
    # A checksum of the whole beside a part of it makes clients refuse the part.
    if given.get("ChecksumMode") == "ENABLED" and span is None:
        headers |= output_headers(asked.operation, checksum_members(found.facts.checksums))
    headers |= {
        wire: as_header(header_text(given[name]))
        for name, wire in OVERRIDES.items()
        if given.get(name)
    }
    if span is None:
        return 200, Span(0, found.size), headers | {"content-length": str(found.size)}
    headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{found.size}"
    return 206, span, headers | {"content-length": str(span.end - span.start)}


def _described(found: StoredObject) -> Values:
    return {
        "ETag": quoted(found.etag),
        "LastModified": modified(found),
        "Metadata": found.facts.metadata,
    }


def delete_object(asked: Asked) -> Values:
    """Remove an object; a missing one is no error."""
    if (etag := asked.given.get("IfMatch")) is not None:
        asked.store.delete_if(asked.bucket, asked.key, etag.strip('"'))
    else:
        asked.store.delete(asked.bucket, [asked.key])
    return {}


def delete_objects(asked: Asked) -> Values:
    """Remove up to a thousand objects: in one transaction, but for those that have terms."""
    wanted: Any = asked.given.get("Delete", {})
    named = wanted.get("Objects", ())
    if not 0 < len(named) <= MOST_DELETED or not all(one.get("Key") for one in named):
        raise AwsError(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published "
            "schema",
        )
    if any({"LastModifiedTime", "Size"} & one.keys() for one in named):
        raise AwsError(
            "NotImplemented",
            "a delete may have an ETag as its condition, no Size or LastModifiedTime; leave these out",
            501,
        )
    asked.store.delete(asked.bucket, [one["Key"] for one in named if not _has_terms(one)])
    answers = [(one, _delete_on_terms(asked, one) if _has_terms(one) else None) for one in named]
    deleted = [] if wanted.get("Quiet") else [_identified(one) for one, no in answers if not no]
    return {
        "Deleted": deleted,
        "Errors": [
            {**_identified(one), "Code": no.code, "Message": no.message}
            for one, no in answers
            if no
        ],
    }


def _has_terms(named: Values) -> bool:
    return "ETag" in named or named.get("VersionId", NO_VERSION) != NO_VERSION


def _delete_on_terms(asked: Asked, named: Values) -> AwsError | None:
    """Remove an object of a version or ETag; return why it is not removed."""
    if named.get("VersionId", NO_VERSION) != NO_VERSION:
        return AwsError("NoSuchVersion", NO_SUCH_VERSION, 404)
    try:
        asked.store.delete_if(asked.bucket, named["Key"], named["ETag"].strip('"'))
    except (NoSuchKey, PreconditionFailed) as error:
        return refusals.from_ours(error)
    return None


def _identified(named: Values) -> Values:
    return {member: named[member] for member in ("Key", "VersionId") if member in named}


def copy_object(asked: Asked) -> Values:
    """Make an object of another one's bytes; none of them is moved."""
    source, found = source_of(asked)
    replaces = asked.given.get("MetadataDirective", "COPY") == "REPLACE"
    if (source, found.key) == (asked.bucket, asked.key) and not replaces:
        raise AwsError(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without "
            "changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )
    sums = found.facts.checksums
    facts = facts_of(asked, sums) if replaces else Facts(
        found.facts.headers, found.facts.metadata, sums
    )  # fmt: skip
    made = asked.store.copy(
        (source, found), (asked.bucket, asked.key), facts, write_condition(asked.given)
    )
    result = {
        "ETag": quoted(made.etag),
        "LastModified": modified(made),
        **checksum_members(made.facts.checksums),
    }
    return {"CopyObjectResult": result}


def source_of(asked: Asked) -> tuple[str, StoredObject]:
    """Return bucket and object of a copy's source, its conditions checked."""
    source = read_copy_source(asked.given["CopySource"])
    found = asked.store.get(source.bucket, source.key)
    check_read(found, asked.given, prefix="CopySource")
    return source.bucket, found

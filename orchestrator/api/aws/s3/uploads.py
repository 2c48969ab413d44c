"""Operations on uploads in parts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.s3 import checksums
from orchestrator.api.aws.s3.body import Intake
from orchestrator.api.aws.s3.conditions import copy_range, write_condition
from orchestrator.api.aws.s3.context import (
    OWNER,
    Asked,
    checksum_members,
    facts_of,
    page_size,
    quoted,
)
from orchestrator.api.aws.s3.objects import source_of
from orchestrator.api.aws.s3.wire import Values, answer
from orchestrator.blobs.bucket_errors import NoSuchKey, NoSuchUpload
from orchestrator.blobs.bucket_parts import PartWriter
from orchestrator.blobs.bucket_values import (
    MAX_PART_NUMBER,
    Facts,
    NamedPart,
    Part,
    StoredObject,
    Upload,
)
from orchestrator.clock import from_epoch

BLOCK_BYTES = 1024 * 1024
ALGORITHM = "algorithm"
TYPE = "type"


def create_multipart_upload(asked: Asked) -> Values:
    """Begin an upload."""
    algorithm = asked.given.get("ChecksumAlgorithm")
    sums: dict[str, str] = {}
    if algorithm is not None:
        checksums.make(algorithm)
        default = checksums.FULL_OBJECT if algorithm == "CRC64NVME" else checksums.COMPOSITE
        sums = {ALGORITHM: algorithm, TYPE: asked.given.get("ChecksumType", default)}
    upload = asked.store.begin_upload(asked.bucket, asked.key, facts_of(asked, sums))
    return {
        "Bucket": asked.bucket,
        "Key": asked.key,
        "UploadId": upload.upload_id,
        "ChecksumAlgorithm": algorithm,
        "ChecksumType": sums.get(TYPE),
    }


def _upload(asked: Asked) -> Upload:
    return asked.store.find_upload(asked.bucket, asked.key, asked.given["UploadId"])


def _number(asked: Asked) -> int:
    number: int = asked.given["PartNumber"]
    if not 1 <= number <= MAX_PART_NUMBER:
        raise AwsError(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {MAX_PART_NUMBER}, inclusive",
        )
    return number


async def upload_part(asked: Asked) -> Response:
    """Write a part."""
    number = _number(asked)
    intake = Intake(asked.request, asked.caller, asked.threads)
    upload = await asked.threads.run(_upload, asked)

    def put(writer: PartWriter) -> Part:
        sums = intake.finish(writer)
        writer.finish()
        return asked.store.put_part(asked.bucket, upload, number, writer, sums)

    size = intake.claims.size
    with asked.store.part_writer(upload, number, size, intake.observers) as writer:
        await intake.into(writer)
        part = await asked.threads.run(put, writer)
    values = {"ETag": quoted(part.etag), **checksum_members(part.checksums)}
    return answer(asked.operation, values, {})


def upload_part_copy(asked: Asked) -> Values:
    """Write a part from bytes of an object."""
    number = _number(asked)
    upload = _upload(asked)
    _, found = source_of(asked)
    span = copy_range(asked.given.get("CopySourceRange"), found.size)
    algorithm = upload.facts.checksums.get(ALGORITHM)
    checksum = checksums.make(algorithm) if algorithm else None
    size = span.end - span.start
    also = () if checksum is None else (checksum,)
    with (
        asked.store.open(found) as stream,
        asked.store.part_writer(upload, number, size, also) as writer,
    ):
        stream.seek(span.start)
        while writer.size < size:
            writer.write(stream.read(min(BLOCK_BYTES, size - writer.size)))
        writer.finish()
        sums = {algorithm: checksums.encoded(checksum.digest())} if algorithm and checksum else {}
        part = asked.store.put_part(asked.bucket, upload, number, writer, sums)
    result = {
        "ETag": quoted(part.etag),
        "LastModified": from_epoch(part.modified),
        **checksum_members(part.checksums),
    }
    return {"CopyPartResult": result}


def complete_multipart_upload(asked: Asked) -> Values:
    """Make an object of parts. Asked again after it was done, the answer is the same."""
    named = [_named(one) for one in asked.given.get("MultipartUpload", {}).get("Parts", ())]
    if not named:
        raise AwsError(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published "
            "schema",
        )
    try:
        made = asked.store.complete_upload(
            asked.bucket,
            _upload(asked),
            named,
            lambda parts, facts: _combined(asked, parts, facts),
            write_condition(asked.given),
        )
    except NoSuchUpload:
        made = _already_made(asked)
    return {
        "Location": str(asked.request.url.replace(query="")),
        "Bucket": asked.bucket,
        "Key": asked.key,
        "ETag": quoted(made.etag),
        **checksum_members(made.facts.checksums),
    }


def _already_made(asked: Asked) -> StoredObject:
    try:
        present = asked.store.get(asked.bucket, asked.key)
    except NoSuchKey:
        present = None
    if present is None or present.facts.upload != asked.given["UploadId"]:
        raise NoSuchUpload("the upload is over")
    return present


def _named(part: Values) -> NamedPart:
    sums = {
        name.removeprefix("Checksum"): value
        for name, value in part.items()
        if name.startswith("Checksum")
    }
    return NamedPart(part.get("PartNumber", 0), part.get("ETag", ""), sums)


def _combined(asked: Asked, parts: Sequence[Part], facts: Facts) -> dict[str, str]:
    """Return the object's checksum, and compare it with the one that the client names."""
    algorithm, kind = facts.checksums.get(ALGORITHM), facts.checksums.get(TYPE)
    if algorithm is None:
        return {}
    sums = [part.checksums.get(algorithm) for part in parts]
    raw = [base64.b64decode(value) for value in sums if value is not None]
    if len(raw) != len(parts):
        raise AwsError(
            "InvalidRequest",
            f"The upload was created using a {algorithm.lower()} checksum. The complete request "
            "must include the checksum for each part.",
        )
    if kind == checksums.FULL_OBJECT:
        sizes = [part.size for part in parts]
        value = checksums.joined(list(zip(raw, sizes, strict=True)), algorithm)
    else:
        value = checksums.composite(raw, algorithm)
    wanted = asked.given.get(f"Checksum{algorithm}", value)
    if wanted not in {value, value.partition("-")[0]}:
        raise AwsError(
            "BadDigest", f"The {algorithm} you specified did not match the calculated checksum."
        )
    return {algorithm: value, TYPE: str(kind)}


def abort_multipart_upload(asked: Asked) -> Values:
    """End an upload."""
    asked.store.abort_upload(asked.bucket, _upload(asked))
    return {}


def list_parts(asked: Asked) -> Values:
    """One page of an upload's parts."""
    upload = _upload(asked)
    marker = asked.given.get("PartNumberMarker", 0)
    most = page_size(asked.given, "MaxParts")
    found = asked.store.list_parts(upload, marker, most + 1)
    shown = found[:most]
    sums = upload.facts.checksums
    return {
        "Bucket": asked.bucket,
        "Key": asked.key,
        "UploadId": upload.upload_id,
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1].number if shown else 0,
        "MaxParts": most,
        "IsTruncated": len(found) > most > 0,
        "Parts": [_listed(part) for part in shown],
        "Initiator": OWNER,
        "Owner": OWNER,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": sums.get(ALGORITHM),
        "ChecksumType": sums.get(TYPE),
    }


def _listed(part: Part) -> Values:
    return {
        "PartNumber": part.number,
        "LastModified": from_epoch(part.modified),
        "ETag": quoted(part.etag),
        "Size": part.size,
        **checksum_members(part.checksums),
    }


def list_multipart_uploads(asked: Asked) -> Values:
    """One page of a bucket's uploads."""
    given = asked.given
    if given.get("Delimiter"):
        raise AwsError("NotImplemented", "uploads cannot be listed by delimiter here", 501)
    most = page_size(given, "MaxUploads")
    prefix, key_marker = given.get("Prefix", ""), given.get("KeyMarker", "")
    # Without an id, all uploads of the marker's key are behind; ids are hexadecimal.
    id_marker = given.get("UploadIdMarker") or ("~" if key_marker else "")
    found = asked.store.list_uploads(asked.bucket, prefix, (key_marker, id_marker), most + 1)
    shown = found[:most]
    is_cut = len(found) > most and bool(shown)
    encode: Any = quote if given.get("EncodingType") == "url" else str
    return {
        "Bucket": asked.bucket,
        "KeyMarker": encode(key_marker),
        "UploadIdMarker": given.get("UploadIdMarker", ""),
        "NextKeyMarker": encode(shown[-1].key) if is_cut else None,
        "NextUploadIdMarker": shown[-1].upload_id if is_cut else None,
        "MaxUploads": most,
        "IsTruncated": is_cut,
        "Prefix": encode(prefix),
        "EncodingType": given.get("EncodingType"),
        "Uploads": [_begun(upload, encode) for upload in shown],
    }


def _begun(upload: Upload, encode: Any) -> Values:
    sums = upload.facts.checksums
    return {
        "UploadId": upload.upload_id,
        "Key": encode(upload.key),
        "Initiated": from_epoch(upload.begun),
        "StorageClass": "STANDARD",
        "Owner": OWNER,
        "Initiator": OWNER,
        "ChecksumAlgorithm": sums.get(ALGORITHM),
        "ChecksumType": sums.get(TYPE),
    }

"""The door: a verified request of an S3 client in, its answer out."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence

from botocore.auth import HmacV1Auth
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.received import is_presigned_2
from orchestrator.api.aws.s3 import buckets, objects, refusals, subresources, uploads
from orchestrator.api.aws.s3.address import BUCKET_HOSTS, read_address, read_query
from orchestrator.api.aws.s3.body import read_document
from orchestrator.api.aws.s3.conditions import NotModified
from orchestrator.api.aws.s3.context import Asked, check_supported
from orchestrator.api.aws.s3.model import Operation, route
from orchestrator.api.aws.s3.reading import Reading
from orchestrator.api.aws.s3.threads import Threads
from orchestrator.api.aws.s3.wire import Values, answer, read_given, read_payload
from orchestrator.blobs.buckets import BucketStore
from orchestrator.errors import OrchestratorError

SHORT: Mapping[str, Callable[[Asked], Values]] = {
    "AbortMultipartUpload": uploads.abort_multipart_upload,
    "CompleteMultipartUpload": uploads.complete_multipart_upload,
    "CopyObject": objects.copy_object,
    "CreateBucket": buckets.create_bucket,
    "CreateMultipartUpload": uploads.create_multipart_upload,
    "DeleteBucket": buckets.delete_bucket,
    "DeleteObject": objects.delete_object,
    "DeleteObjects": objects.delete_objects,
    "HeadBucket": buckets.head_bucket,
    "ListBuckets": buckets.list_buckets,
    "ListMultipartUploads": uploads.list_multipart_uploads,
    "ListObjects": buckets.list_objects,
    "ListObjectsV2": buckets.list_objects_v2,
    "ListObjectVersions": buckets.list_object_versions,
    "ListParts": uploads.list_parts,
    "UploadPartCopy": uploads.upload_part_copy,
    **subresources.OPERATIONS,
}
"""Operations that run in a thread, with values in and values out."""
STREAMED: Mapping[str, Callable[[Asked], Awaitable[Response]]] = {
    "GetBucketLocation": buckets.get_bucket_location,
    "GetObject": objects.get_object,
    "HeadObject": objects.head_object,
    "PutObject": objects.put_object,
    "UploadPart": uploads.upload_part,
}
"""Operations that move bodies, or answer in a form of their own."""
SERVED = tuple(sorted([*SHORT, *STREAMED]))
SIGNED_BY_2 = frozenset([*HmacV1Auth.QSAOfInterest, "list-type"])
"""Parameters that version 2 of signatures covers, and one that says only how a list is written."""


class S3Gateway:
    """Answers S3 requests whose signatures were verified.

    Args:
        store: The buckets.
        hosts: Names below which the first label of a host name is a bucket.
    """

    def __init__(self, store: BucketStore, hosts: Sequence[str] = BUCKET_HOSTS) -> None:
        self._store = store
        self._hosts = hosts
        self._threads = Threads()

    def close(self) -> None:
        """Let running calls end. The store stays open."""
        self._threads.close()

    async def __call__(self, request: Request, caller: Caller) -> Response:
        """Answer one request; errors are answers, too."""
        request_id = secrets.token_hex(8).upper()
        reading = Reading(request)
        request = Request(request.scope, reading)
        try:
            found = await self._answer(request, caller)
        except NotModified:
            found = Response(status_code=304)
        except AwsError as error:
            found = refusals.write(error, request, request_id)
        except OrchestratorError as error:
            found = refusals.write(refusals.from_ours(error), request, request_id)
        if found.status_code >= 400 and not await reading.drain():
            found.headers["connection"] = "close"
        found.headers["x-amz-request-id"] = request_id
        return found

    async def _answer(self, request: Request, caller: Caller) -> Response:
        asked = self._asked(request, caller)
        name = asked.operation.name
        if name in STREAMED:
            return await STREAMED[name](asked)
        document = await read_document(
            request,
            caller,
            self._threads,
            has_checksum="x-amz-sdk-checksum-algorithm" in asked.operation.headers,
        )
        strict = name in subresources.OPERATIONS
        asked.given.update(read_payload(asked.operation, document, strict=strict))
        values = await self._threads.run(SHORT[name], asked)
        return answer(asked.operation, values, {})

    def _asked(self, request: Request, caller: Caller) -> Asked:
        address = read_address(
            request.scope["raw_path"], request.headers.get("host", ""), self._hosts
        )
        query = read_query(request.scope["query_string"])
        operation = _routed(request, address.level, query)
        _check_signed(request, operation)
        given = read_given(operation, query, request.headers.items())
        check_supported(given)
        return Asked(
            operation,
            address.bucket,
            address.key,
            given,
            request,
            caller,
            self._store,
            self._threads,
        )


def _check_signed(request: Request, operation: Operation) -> None:
    """Refuse an operation that is chosen by what is not signed: an address was made for another one."""
    unsigned = operation.literals.keys() - SIGNED_BY_2
    if unsigned and is_presigned_2(request.scope["query_string"]):
        raise AwsError(
            "AccessDenied",
            f"signature version 2 does not cover {', '.join(sorted(unsigned))}; use version 4",
            403,
        )


def _routed(request: Request, level: int, query: Mapping[str, str]) -> Operation:
    found = route(request.method, level, query, request.headers.keys())
    if found is not None and found.name in STREAMED.keys() | SHORT.keys():
        return found
    if found is None and request.method not in {"GET", "HEAD", "PUT", "POST", "DELETE"}:
        raise AwsError(
            "MethodNotAllowed", "The specified method is not allowed against this resource.", 405
        )
    asked = found.name if found else f"{request.method} of this resource"
    raise AwsError(
        "NotImplemented", f"{asked} is not implemented; served are: {', '.join(SERVED)}", 501
    )

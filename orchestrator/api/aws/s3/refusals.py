"""Errors in S3's form, and our errors in S3's words."""

from __future__ import annotations

import logging
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.aws.errors import AwsError, internal_failure
from orchestrator.api.aws.s3 import xml
from orchestrator.blobs import bucket_errors as refused
from orchestrator.errors import (
    InputError,
    InvalidState,
    LimitExceeded,
    NotFound,
    OrchestratorError,
)

logger = logging.getLogger(__name__)

NO_UPLOAD = (
    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been "
    "aborted or completed."
)
# The most special classes first. AWS's text where it has one; else ours, which names the value.
NAMES: tuple[tuple[type[OrchestratorError], str, int, str], ...] = (
    (refused.NoSuchBucket, "NoSuchBucket", 404, "The specified bucket does not exist"),
    (refused.NoSuchKey, "NoSuchKey", 404, "The specified key does not exist."),
    (
        refused.NoSuchUpload,
        "NoSuchUpload",
        404,
        NO_UPLOAD,
    ),
    (
        refused.BucketExists,
        "BucketAlreadyOwnedByYou",
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    ),
    (refused.BucketNotEmpty, "BucketNotEmpty", 409, "The bucket you tried to delete is not empty"),
    (
        refused.PreconditionFailed,
        "PreconditionFailed",
        412,
        "At least one of the pre-conditions you specified did not hold",
    ),
    (refused.InvalidBucketName, "InvalidBucketName", 400, "The specified bucket is not valid."),
    (refused.InvalidKey, "KeyTooLongError", 400, "Your key is too long"),
    (refused.InvalidPartOrder, "InvalidPartOrder", 400, ""),
    (refused.InvalidPart, "InvalidPart", 400, ""),
    (
        refused.EntityTooSmall,
        "EntityTooSmall",
        400,
        "Your proposed upload is smaller than the minimum allowed size",
    ),
    (LimitExceeded, "InsufficientStorage", 507, ""),
    (NotFound, "NoSuchKey", 404, ""),
    (InvalidState, "OperationAborted", 409, ""),
    (InputError, "InvalidArgument", 400, ""),
)


def from_ours(error: OrchestratorError) -> AwsError:
    """Return one of our errors as S3 names it; a fault of ours is logged, not told."""
    for kind, code, status, text in NAMES:
        if isinstance(error, kind):
            return AwsError(code, text or error.message, status)
    if error.http_status == 503:
        return AwsError("ServiceUnavailable", "Please reduce your request rate.", 503)
    logger.error("a request failed", exc_info=error)
    return internal_failure()


def write(error: AwsError, request: Request, request_id: str) -> Response:
    """Return an error as an answer; HEAD has no body to put it in."""
    if request.method == "HEAD":
        return Response(status_code=error.status)
    fields = {
        "Code": "InternalError" if error.code == "InternalFailure" else error.code,
        "Message": error.message,
        "Resource": unquote(request.scope["raw_path"].decode("latin-1")),
        "RequestId": request_id,
        "HostId": request_id,
    }
    inside = "".join(f"<{name}>{xml.escape(text)}</{name}>" for name, text in fields.items())
    return Response(
        f"{xml.HEAD}<Error>{inside}</Error>".encode(),
        status_code=error.status,
        media_type="application/xml",
    )

"""Why a signature is refused, in the words of each kind of service; texts never depend on secrets."""

from __future__ import annotations

from enum import Enum, auto

from orchestrator.api.aws.caller import MISMATCH
from orchestrator.api.aws.errors import AwsError


class Dialect(Enum):
    """How a service words the same refusals."""

    JSON = auto()
    QUERY = auto()
    S3 = auto()


class Refusal(Enum):
    """What is wrong with a signature."""

    MISSING = auto()
    INCOMPLETE = auto()
    UNKNOWN_KEY = auto()
    SESSION_TOKEN = auto()
    MISMATCH = auto()
    SKEWED = auto()
    EXPIRED = auto()
    BAD_EXPIRY = auto()
    BAD_EXPIRY_2 = auto()
    UNSIGNED_HEADER = auto()
    NO_PAYLOAD_HASH = auto()
    WRONG_PAYLOAD = auto()
    WRONG_SERVICE = auto()


_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)
_TOKEN = "The security token included in the request is invalid."  # noqa: S105  # a message
_SKEWED = (
    "Signature not current: the request's time must lie within 5 minutes of this service's clock"
)
_EXPIRED = "Signature expired: the time until which it is good is over"
_BAD_EXPIRY = "X-Amz-Expires must be a number of seconds from 1 to 604800 (a week)"
_BAD_EXPIRY_2 = "Expires must be a number of seconds since 1970"
_UNSIGNED = "'Host' and every 'x-amz-*' header must be a 'SignedHeader' in the AWS Authorization."
_INCOMPLETE = (
    "Authorization header requires 'Credential' (KEY/DATE/REGION/SERVICE/aws4_request), "
    "'SignedHeaders' and 'Signature' parameters, and an 'X-Amz-Date' or a 'Date' header."
)
_NO_HASH = "Missing required header for this request: x-amz-content-sha256"
_PAYLOAD = "The provided 'x-amz-content-sha256' header does not match what was computed."
_SERVICE = "Credential should be scoped to correct service."

_TABLE: dict[Refusal, dict[Dialect, tuple[str, str, int]]] = {
    Refusal.MISSING: {
        Dialect.JSON: ("MissingAuthenticationTokenException", "Missing Authentication Token", 403),
        Dialect.QUERY: (
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
            403,
        ),
        Dialect.S3: ("AccessDenied", "Access Denied", 403),
    },
    Refusal.INCOMPLETE: {
        Dialect.JSON: ("IncompleteSignatureException", _INCOMPLETE, 403),
        Dialect.QUERY: ("IncompleteSignature", _INCOMPLETE, 403),
        Dialect.S3: ("AuthorizationHeaderMalformed", _INCOMPLETE, 400),
    },
    Refusal.UNKNOWN_KEY: {
        Dialect.JSON: ("UnrecognizedClientException", _TOKEN, 403),
        Dialect.QUERY: ("InvalidClientTokenId", _TOKEN, 403),
        Dialect.S3: (
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            403,
        ),
    },
    Refusal.SESSION_TOKEN: {
        Dialect.JSON: ("UnrecognizedClientException", _TOKEN, 403),
        Dialect.QUERY: ("InvalidClientTokenId", _TOKEN, 403),
        Dialect.S3: ("InvalidToken", "The provided token is malformed or otherwise invalid.", 400),
    },
    Refusal.MISMATCH: {
        Dialect.JSON: ("InvalidSignatureException", _MISMATCH, 403),
        Dialect.QUERY: ("SignatureDoesNotMatch", _MISMATCH, 403),
        Dialect.S3: ("SignatureDoesNotMatch", MISMATCH, 403),
    },
    Refusal.SKEWED: {
        Dialect.JSON: ("InvalidSignatureException", _SKEWED, 403),
        Dialect.QUERY: ("SignatureDoesNotMatch", _SKEWED, 403),
        Dialect.S3: (
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            403,
        ),
    },
    Refusal.EXPIRED: {
        Dialect.JSON: ("InvalidSignatureException", _EXPIRED, 403),
        Dialect.QUERY: ("SignatureDoesNotMatch", _EXPIRED, 403),
        Dialect.S3: ("AccessDenied", "Request has expired", 403),
    },
    Refusal.BAD_EXPIRY: {
        Dialect.JSON: ("IncompleteSignatureException", _BAD_EXPIRY, 403),
        Dialect.QUERY: ("IncompleteSignature", _BAD_EXPIRY, 403),
        Dialect.S3: ("AuthorizationQueryParametersError", _BAD_EXPIRY, 400),
    },
    Refusal.BAD_EXPIRY_2: {
        Dialect.JSON: ("IncompleteSignatureException", _BAD_EXPIRY_2, 403),
        Dialect.QUERY: ("IncompleteSignature", _BAD_EXPIRY_2, 403),
        Dialect.S3: ("AccessDenied", _BAD_EXPIRY_2, 403),
    },
    Refusal.UNSIGNED_HEADER: {
        Dialect.JSON: ("InvalidSignatureException", _UNSIGNED, 403),
        Dialect.QUERY: ("SignatureDoesNotMatch", _UNSIGNED, 403),
        Dialect.S3: (
            "AccessDenied",
            "There were headers present in the request which were not signed",
            403,
        ),
    },
    Refusal.NO_PAYLOAD_HASH: {
        Dialect.JSON: ("InvalidSignatureException", _NO_HASH, 403),
        Dialect.QUERY: ("SignatureDoesNotMatch", _NO_HASH, 403),
        Dialect.S3: ("InvalidRequest", _NO_HASH, 400),
    },
    Refusal.WRONG_PAYLOAD: {
        Dialect.JSON: ("InvalidSignatureException", _PAYLOAD, 403),
        Dialect.QUERY: ("SignatureDoesNotMatch", _PAYLOAD, 403),
        Dialect.S3: ("XAmzContentSHA256Mismatch", _PAYLOAD, 400),
    },
    Refusal.WRONG_SERVICE: {
        Dialect.JSON: ("InvalidSignatureException", _SERVICE, 403),
        Dialect.QUERY: ("SignatureDoesNotMatch", _SERVICE, 403),
        Dialect.S3: ("AuthorizationHeaderMalformed", _SERVICE, 400),
    },
}


def refused(refusal: Refusal, dialect: Dialect) -> AwsError:
    """Return the error that a service of this kind answers with."""
    return AwsError(*_TABLE[refusal][dialect])

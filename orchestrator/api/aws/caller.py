"""Who asks: what a verified signature says, handed on to whatever answers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.api.aws.errors import AwsError

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "key and signing method."
)


class ChunkSigner:
    """Verifies the chunks of one streamed body in turn; each signature covers the one before.

    Args:
        sign: Returns the hexadecimal signature of a string under the request's signing key.
        timestamp: The request's time, as signed.
        scope: ``date/region/service/aws4_request``.
        seed: The signature of the request itself.
    """

    def __init__(self, sign: Callable[[str], str], timestamp: str, scope: str, seed: str) -> None:
        self._sign = sign
        self._timestamp = timestamp
        self._scope = scope
        self._previous = seed

    def verify(self, signature: str, chunk_sha256_hex: str) -> None:
        """Check the next chunk; the last one is empty.

        Raises:
            AwsError: SignatureDoesNotMatch.
        """
        self._check("AWS4-HMAC-SHA256-PAYLOAD", [EMPTY_SHA256, chunk_sha256_hex], signature)

    def verify_trailer(self, signature: str, trailer: bytes) -> None:
        r"""Check the trailing headers, after the last chunk.

        Args:
            signature: The value of ``x-amz-trailer-signature``.
            trailer: The trailing headers in canonical form: ``name:value\n`` each.

        Raises:
            AwsError: SignatureDoesNotMatch.
        """
        digest = hashlib.sha256(trailer).hexdigest()
        self._check("AWS4-HMAC-SHA256-TRAILER", [digest], signature)

    def _check(self, kind: str, digests: list[str], signature: str) -> None:
        lines = [kind, self._timestamp, self._scope, self._previous, *digests]
        expected = self._sign("\n".join(lines))
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            raise AwsError("SignatureDoesNotMatch", MISMATCH, 403)
        self._previous = expected


@dataclass(frozen=True)
class Caller:
    """Who signed a request, and for what.

    Attributes:
        access_key: Id of the key that signed.
        region: From the credential scope, free text.
        service: From the credential scope: s3, sagemaker, logs, sts, iam, ecr, monitoring.
        payload: ``x-amz-content-sha256``: a hexadecimal digest, ``UNSIGNED-PAYLOAD`` (also of
            presigned requests) or ``STREAMING-...``.
        chunks: Verifies the chunks of a signed stream; None otherwise.
    """

    access_key: str
    region: str
    service: str
    payload: str
    chunks: ChunkSigner | None = None

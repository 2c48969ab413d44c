"""Verifying a signature: botocore's own signer runs again over what was signed.

The order matters. What needs no secret comes first (form, key, clock), then the signature; texts
are constant, and nothing of a request is used before its signature holds.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from orchestrator.api.aws.caller import (
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    Caller,
    ChunkSigner,
)
from orchestrator.api.aws.received import Received
from orchestrator.api.aws.refusals import Dialect, Refusal, refused
from orchestrator.api.aws.signature import Claim, Malformed, read_claim
from orchestrator.api.aws.sigv2 import Claim2, read_claim_2, signature_2
from orchestrator.clock import Clock

CLOCK_WINDOW = timedelta(minutes=5)
S3 = "s3"
REGION_2 = "us-east-1"
"""A claim of version 2 names no region; that version is of the first one."""
_UNKNOWN = "no such key"
_SIGNED_STREAMS = frozenset({STREAMING_SIGNED, STREAMING_SIGNED_TRAILER})


class Secrets(Protocol):
    """Where secrets of access keys are known."""

    def lookup(self, access_key: str) -> str | None:
        """Return the secret of a key, None when there is none."""
        ...


class Verifier:
    """Tells who signed a request.

    Args:
        keys: The keys.
        clock: The time.
        verifies: False believes every claim: for loopback only, by setting.
    """

    def __init__(self, keys: Secrets, clock: Clock, *, verifies: bool = True) -> None:
        self._keys = keys
        self._clock = clock
        self._verifies = verifies

    def of_s3(self, received: Received) -> Caller:
        """Check a request to S3, but for its body, which is checked as it comes.

        Raises:
            AwsError: The claim or the signature is refused.
        """
        presigned = read_claim_2(received)
        if presigned is not None:
            return self._presigned_2(received, presigned)
        claim = self.begin(received, Dialect.S3)
        return self.finish(received, claim, Dialect.S3, None)

    def _presigned_2(self, received: Received, claim: Claim2) -> Caller:
        caller = Caller(claim.access_key, REGION_2, S3, UNSIGNED_PAYLOAD)
        if not self._verifies:
            return caller
        secret = self._keys.lookup(claim.access_key)
        if secret is None:
            raise refused(Refusal.UNKNOWN_KEY, Dialect.S3)
        if _has_session_token(received):
            raise refused(Refusal.SESSION_TOKEN, Dialect.S3)
        if claim.expires is None:
            raise refused(Refusal.BAD_EXPIRY_2, Dialect.S3)
        if self._clock.now() > claim.expires:
            raise refused(Refusal.EXPIRED, Dialect.S3)
        expected = signature_2(received, claim, secret)
        if not hmac.compare_digest(expected.encode(), claim.signature.encode("utf-8", "replace")):
            raise refused(Refusal.MISMATCH, Dialect.S3)
        return caller

    def begin(self, received: Received, dialect: Dialect) -> Claim:
        """Check all that needs neither the secret nor the body.

        Raises:
            AwsError: The claim is malformed, of an unknown key, or not of this time.
        """
        try:
            claim = read_claim(received)
        except Malformed as error:
            raise refused(error.refusal, dialect) from error
        if not self._verifies:
            return claim
        refusal = self._refusal(received, claim)
        if refusal is not None:
            raise refused(refusal, dialect)
        return claim

    def _refusal(self, received: Received, claim: Claim) -> Refusal | None:
        if self._keys.lookup(claim.access_key) is None:
            return Refusal.UNKNOWN_KEY
        if _has_session_token(received):
            return Refusal.SESSION_TOKEN
        return self._out_of_time(claim) or _unsigned(received, claim)

    def _out_of_time(self, claim: Claim) -> Refusal | None:
        now = self._clock.now()
        if claim.time - now > CLOCK_WINDOW:
            return Refusal.SKEWED
        if claim.expires is not None:
            return Refusal.EXPIRED if now > claim.expires else None
        return Refusal.SKEWED if now - claim.time > CLOCK_WINDOW else None

    def finish(
        self, received: Received, claim: Claim, dialect: Dialect, body_sha256: str | None
    ) -> Caller:
        """Check the signature.

        Args:
            received: The request.
            claim: What ``begin`` returned for it.
            dialect: How to word what is wrong.
            body_sha256: Hexadecimal digest of the whole body; None for S3, whose bodies are
                checked as they come, against ``Caller.payload``.

        Raises:
            AwsError: The signature is another one, or the body is.
        """
        payload = _payload(received, claim, body_sha256)
        if payload is None:
            raise refused(Refusal.NO_PAYLOAD_HASH, dialect)
        if not self._verifies:
            return Caller(claim.access_key, claim.region, claim.service, payload)
        signer, request = _signer(
            received, claim, payload, self._keys.lookup(claim.access_key) or _UNKNOWN
        )
        wanted = signer.string_to_sign(request, signer.canonical_request(request))
        expected: str = signer.signature(wanted, request)
        if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
            raise refused(Refusal.MISMATCH, dialect)
        if body_sha256 is not None and payload != body_sha256:
            raise refused(Refusal.WRONG_PAYLOAD, dialect)
        chunks = None
        if payload in _SIGNED_STREAMS:
            chunks = ChunkSigner(
                _chunk_sign(signer, request),
                claim.timestamp,
                signer.credential_scope(request),
                claim.signature,
            )
        return Caller(claim.access_key, claim.region, claim.service, payload, chunks)


class _Signer(SigV4Auth):  # type: ignore[misc]  # botocore carries no types
    """Signs the headers that the claim names, whichever they are."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return request.headers


class _S3Signer(S3SigV4Auth):  # type: ignore[misc]  # the same
    """The same for S3, which encodes the path once and never normalizes it."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return request.headers


def _signer(received: Received, claim: Claim, payload: str, secret: str) -> tuple[Any, AWSRequest]:
    kind = _S3Signer if claim.service == S3 else _Signer
    signer = kind(Credentials(claim.access_key, secret), claim.service, claim.region)
    signer.payload = lambda _request: payload
    path = received.canonical_path if claim.service == S3 else received.path
    request = AWSRequest(received.method, f"http://host{path}?{received.canonical_query}")
    signed = frozenset(claim.signed_headers)
    for name, value in received.headers:
        if name in signed:
            request.headers.add_header(name, value)
    request.context["timestamp"] = claim.timestamp
    return signer, request


def _chunk_sign(signer: Any, request: AWSRequest) -> Callable[[str], str]:
    def sign(text: str) -> str:
        signature: str = signer.signature(text, request)
        return signature

    return sign


def _payload(received: Received, claim: Claim, body_sha256: str | None) -> str | None:
    """Return the digest that was signed; None when S3's header for it is missing."""
    given = received.header("x-amz-content-sha256")
    if body_sha256 is not None:
        return given or body_sha256
    if claim.expires_seconds is not None:
        return given or received.parameter("X-Amz-Content-Sha256") or UNSIGNED_PAYLOAD
    return given


def _has_session_token(received: Received) -> bool:
    return bool(
        received.header("x-amz-security-token") or received.parameter("X-Amz-Security-Token")
    )


def _unsigned(received: Received, claim: Claim) -> Refusal | None:
    signed = frozenset(claim.signed_headers)
    present = {name for name, _ in received.headers}
    needed = {name for name in present if name.startswith("x-amz-")} | {"host"}
    if claim.expires_seconds is None and "x-amz-date" not in present:
        needed.add("date")
    return None if needed <= signed <= present else Refusal.UNSIGNED_HEADER

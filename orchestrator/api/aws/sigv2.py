"""Presigned addresses of signature version 2, which boto3 still makes for S3 in the oldest regions.

``generate_presigned_url`` does so in us-east-1 unless told otherwise, so unchanged programs need it. The
version exists here for presigned requests of S3 only. botocore's own signer runs again:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html. It covers the method, bucket
and key, the parameters that choose what is done, the time of its end and every ``x-amz-*`` header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlencode, urlsplit

from botocore.auth import HmacV1Auth
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from starlette.types import Scope

from orchestrator.api.aws.received import (
    SIGNATURE_PARAMETERS_2,
    Received,
    is_presigned_2,
)
from orchestrator.api.aws.s3.address import BUCKET_HOSTS, bucket_of_host
from orchestrator.clock import from_epoch

_NAMED = frozenset({"content-md5", "content-type"})
_HEADER = re.compile(r"content-md5|content-type|x-amz-[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[^\x00-\x1f\x7f]*")
_TIME = re.compile(r"[0-9]{1,11}")


@dataclass(frozen=True)
class Claim2:
    """What a presigned request says of its own signature.

    Attributes:
        access_key: Id of the key.
        signature: In base 64.
        expires_text: Seconds since 1970, as signed.
    """

    access_key: str
    signature: str
    expires_text: str

    @property
    def expires(self) -> datetime | None:
        """When it ends to be good; None if that is no time."""
        return from_epoch(int(self.expires_text)) if _TIME.fullmatch(self.expires_text) else None


def read_claim_2(received: Received) -> Claim2 | None:
    """Return the claim of a presigned request of version 2, None where there is none."""
    if received.header("authorization") is not None or not is_presigned_2(received.raw_query):
        return None
    found = [received.parameter(name) for name in SIGNATURE_PARAMETERS_2]
    return Claim2(found[0] or "", found[1] or "", found[2] or "")


def signature_2(received: Received, claim: Claim2, secret: str) -> str:
    """Return the signature that a request of this claim has, if the key's owner made it."""
    headers = HTTPHeaders()
    for name, value in received.headers:
        if name.startswith("x-amz-") or name in _NAMED:
            headers.add_header(name, value)
    # Encoded again from what it means: the signer looks for names as they are spelled.
    query = urlencode(received.parameters, quote_via=quote, errors="surrogateescape")
    place = urlsplit(f"http://host{_signed_path(received)}?{query}")
    signer = _Signer(Credentials(claim.access_key, secret))
    signer.expires_text = claim.expires_text
    signature: str = signer.get_signature(received.method, place, headers)
    return signature


def _signed_path(received: Received) -> str:
    """Return bucket and key as they are signed: no host is, and a bucket alone ends with a slash."""
    bucket = bucket_of_host(received.header("host") or "", BUCKET_HOSTS)
    path = f"/{bucket}{received.path}" if bucket else received.path
    return f"{path}/" if path.count("/") == 1 and path != "/" else path


class _Signer(HmacV1Auth):  # type: ignore[misc]  # botocore carries no types
    """Signs the time of the end in the place of the present time."""

    expires_text = ""

    def _get_date(self) -> str:
        return self.expires_text


def with_headers_of_query(scope: Scope) -> Scope:
    """Return a request whose headers are complete: signers put some into the query instead.

    A header that is sent as well counts alone. What could be no header stays where it is: lines that
    are signed one below the other must not be made of one.
    """
    if not is_presigned_2(scope["query_string"]):
        return scope
    received = Received.of(scope)
    if read_claim_2(received) is None:
        return scope
    sent = {name for name, _ in received.headers}
    moved = [
        (name.lower().encode(), value.encode("utf-8", "surrogateescape"))
        for name, value in received.parameters
        if _HEADER.fullmatch(name.lower()) and _VALUE.fullmatch(value)
        if name.lower() not in sent
    ]
    return {**scope, "headers": [*scope["headers"], *moved]} if moved else scope

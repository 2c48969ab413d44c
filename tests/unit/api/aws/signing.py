"""Requests that botocore signs, as a server receives them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.keys import Keys, issue
from orchestrator.api.aws.received import Received
from orchestrator.api.aws.refusals import Dialect
from orchestrator.api.aws.sigv4 import Verifier

TOKEN = "correct-horse-battery-staple"
KEY = issue(TOKEN)
KEYS = Keys([TOKEN])
HOST = "127.0.0.1:8760"


class FixedClock:
    """A clock that shows one time."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


def clock() -> FixedClock:
    """Now: botocore signs with the machine's clock."""
    return FixedClock(datetime.now(UTC))


def signed(
    signer: type[Any] = botocore.auth.SigV4Auth,
    service: str = "sagemaker",
    *,
    method: str = "POST",
    path: str = "/",
    query: str = "",
    headers: dict[str, str] | None = None,
    body: bytes = b"{}",
    token: str | None = None,
    **options: Any,
) -> Received:
    """A request as botocore signs and sends it."""
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers or {}, body)
    credentials = Credentials(KEY.id, KEY.secret, token)
    signer(credentials, service, "us-east-1", **options).add_auth(request)
    parts = urlsplit(request.url)
    given = [("host", HOST), *((n.lower(), str(v)) for n, v in request.headers.items())]
    return Received(method, parts.path.encode(), parts.query.encode(), tuple(given))


def verified(
    received: Received,
    body: bytes | None = b"{}",
    dialect: Dialect = Dialect.JSON,
    at: FixedClock | None = None,
) -> Caller:
    """Who signed a request."""
    verifier = Verifier(KEYS, at or clock())
    claim = verifier.begin(received, dialect)
    digest = None if body is None else hashlib.sha256(body).hexdigest()
    return verifier.finish(received, claim, dialect, digest)


def with_header(received: Received, name: str, value: str | None) -> Received:
    """The same request with another value of a header; None = without it."""
    kept = [pair for pair in received.headers if pair[0] != name]
    if value is not None:
        kept.append((name, value))
    return replace(received, headers=tuple(kept))

"""The claim of a request: its Authorization header, or its presigned query, read but not believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from orchestrator.api.aws.received import ALGORITHM, Received, is_presigned_2
from orchestrator.api.aws.refusals import Refusal

TIMESTAMP = "%Y%m%dT%H%M%SZ"
_PREFIX = "X-Amz-"
WEEK_SECONDS = 604_800
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_MANY_HEADERS = 200


class Malformed(Exception):
    """The claim is not one: it lacks a part, or a part has no meaning.

    Attributes:
        refusal: What it is refused with.
    """

    def __init__(self, refusal: Refusal = Refusal.INCOMPLETE) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


@dataclass(frozen=True)
class Claim:
    """What a request says of its own signature.

    Attributes:
        access_key: Id of the key.
        date: Day of the credential scope, ``YYYYMMDD``.
        region: Of the credential scope.
        service: Of the credential scope.
        signed_headers: Names in lower case, in order.
        signature: 64 hexadecimal digits.
        time: When it was signed.
        expires_seconds: How long a presigned request is good; None for a header.
    """

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    time: datetime
    expires_seconds: int | None = None

    @property
    def timestamp(self) -> str:
        """The time in the form that is signed."""
        return self.time.strftime(TIMESTAMP)

    @property
    def expires(self) -> datetime | None:
        """When a presigned request ends to be good."""
        if self.expires_seconds is None:
            return None
        return self.time + timedelta(seconds=self.expires_seconds)


def read_claim(received: Received) -> Claim:
    """Return the claim of a request.

    Raises:
        Malformed: It has none, or none that can be understood.
    """
    fields = _fields(received)
    if received.header("authorization") is not None:
        return _claim(fields, _time_of_headers(received))
    return _claim(fields, _time_of(fields.get("Date", "")), _expiry(fields.get("Expires", "")))


def service_of(received: Received) -> str:
    """Return the service that a request names in its scope, empty when it names none; unverified."""
    if received.header("authorization") is None and is_presigned_2(received.raw_query):
        return "s3"
    try:
        return _scope(_fields(received))[3]
    except Malformed:
        return ""


def _fields(received: Received) -> dict[str, str]:
    authorization = received.header("authorization")
    if authorization is not None:
        return _of_header(authorization)
    if received.is_presigned:
        return _of_query(received)
    raise Malformed(Refusal.MISSING)


def _of_header(authorization: str) -> dict[str, str]:
    algorithm, _, rest = authorization.partition(" ")
    parts = [part.strip().partition("=") for part in rest.split(",")]
    fields = {name: value for name, _, value in parts}
    if algorithm != ALGORITHM or len(fields) != len(parts):
        raise Malformed
    return fields


def _of_query(received: Received) -> dict[str, str]:
    pairs = [(n, v) for n, v in received.parameters if n.startswith(_PREFIX)]
    fields = {name.removeprefix(_PREFIX): value for name, value in pairs}
    if received.parameter("X-Amz-Algorithm") != ALGORITHM or len(fields) != len(pairs):
        raise Malformed
    return fields


def _scope(fields: Mapping[str, str]) -> list[str]:
    """Return id of the key, date, region and service."""
    scope = fields.get("Credential", "").rsplit("/", 4)
    if len(scope) != 5 or scope[4] != "aws4_request" or not all(scope):
        raise Malformed
    return scope[:4]


def _claim(fields: Mapping[str, str], time: datetime, expires: int | None = None) -> Claim:
    access_key, date, region, service = _scope(fields)
    signed = tuple(fields.get("SignedHeaders", "").split(";"))
    signature = fields.get("Signature", "")
    if not _SIGNATURE.fullmatch(signature) or not _are_headers(signed):
        raise Malformed
    if date != f"{time:%Y%m%d}":
        raise Malformed
    return Claim(access_key, date, region, service, signed, signature, time, expires)


def _are_headers(names: tuple[str, ...]) -> bool:
    few = len(names) <= _MANY_HEADERS and len(set(names)) == len(names)
    return few and all(_HEADER_NAME.fullmatch(name) for name in names)


def _time_of_headers(received: Received) -> datetime:
    given = received.header("x-amz-date")
    if given is not None:
        return _time_of(given)
    try:
        time = parsedate_to_datetime(received.header("date") or "")
    except (ValueError, TypeError, OverflowError, IndexError) as error:
        raise Malformed from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _time_of(text: str) -> datetime:
    try:
        if _TIMESTAMP.fullmatch(text):
            return datetime.strptime(text, TIMESTAMP).replace(tzinfo=UTC)
    except ValueError as error:
        raise Malformed from error
    raise Malformed


def _expiry(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= WEEK_SECONDS:
        raise Malformed(Refusal.BAD_EXPIRY)
    return int(text)

"""A request as it came: what is signed, before anything in it is believed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes

from starlette.types import Scope

SIGNATURE_PARAMETER = "X-Amz-Signature"
SIGNATURE_PARAMETERS_2 = ("AWSAccessKeyId", "Signature", "Expires")
"""Of version 2, all three of which a presigned request has."""
ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"


@dataclass(frozen=True)
class Received:
    """Method, path, query and headers.

    Attributes:
        method: As sent, in upper case.
        raw_path: Percent-encoded, as sent.
        raw_query: The same, without the question mark.
        headers: Names in lower case, in the order they came.
    """

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, scope: Scope) -> Received:
        """Return what an ASGI server received."""
        raw_path = scope.get("raw_path") or scope["path"].encode()
        return cls(
            scope["method"].upper(),
            raw_path.partition(b"?")[0],
            scope["query_string"],
            tuple((_text(name).lower(), _text(value)) for name, value in scope["headers"]),
        )

    def header(self, name: str) -> str | None:
        """Return the first value of a header, None when it is missing."""
        return self._first.get(name)

    @cached_property
    def _first(self) -> dict[str, str]:
        return dict(reversed(self.headers))

    @cached_property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The query's names and values, decoded, in order."""
        text = self.raw_query.decode("latin-1")
        return tuple(parse_qsl(text, keep_blank_values=True, errors="surrogateescape"))

    def parameter(self, name: str) -> str | None:
        """Return the first value of a parameter, None when it is missing."""
        return next((value for given, value in self.parameters if given == name), None)

    @property
    def is_presigned(self) -> bool:
        """Whether the signature is in the query."""
        return b"X-Amz-" in self.raw_query and (
            self.parameter(SIGNATURE_PARAMETER) is not None
            or self.parameter("X-Amz-Algorithm") == ALGORITHM
        )

    @property
    def path(self) -> str:
        """The path as sent, as text."""
        return _text(self.raw_path)

    @property
    def canonical_path(self) -> str:
        """The path, encoded in the one way that is signed."""
        return quote_from_bytes(unquote_to_bytes(self.raw_path), safe="/" + _UNRESERVED)

    @property
    def canonical_query(self) -> str:
        """The query, encoded in the one way that is signed, without the signature itself.

        Encoded again from what it means, so that no other spelling of another meaning passes.
        """
        pairs = [_pair(part) for part in self.raw_query.split(b"&") if part]
        return "&".join(f"{n}={v}" for n, v in sorted(pairs) if n != SIGNATURE_PARAMETER)


def is_signed(scope: Scope) -> bool:
    """Return whether a request carries, or claims to carry, a signature."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bool(value.startswith(b"AWS4-"))
    query: bytes = scope["query_string"]
    if b"X-Amz-" in query and Received("", b"", query, ()).is_presigned:
        return True
    return is_presigned_2(query)


def is_presigned_2(raw_query: bytes) -> bool:
    """Return whether a query claims to be signed by version 2."""
    if b"Signature=" not in raw_query:
        return False
    named = {part.partition(b"=")[0].decode("latin-1") for part in raw_query.split(b"&")}
    return named.issuperset(SIGNATURE_PARAMETERS_2)


def _pair(part: bytes) -> tuple[str, str]:
    name, _, value = part.partition(b"=")
    return _encoded(name), _encoded(value)


def _encoded(part: bytes) -> str:
    return quote_from_bytes(unquote_to_bytes(part.replace(b"+", b" ")), safe=_UNRESERVED)


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")

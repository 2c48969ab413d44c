"""Page positions: opaque, signed, and good for one query only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

from orchestrator.errors import InvalidSpec
from orchestrator.store.base import ListQuery
from orchestrator.store.rules import fingerprint

_SIGNATURE_BYTES = 16
Position = list[Any]
"""Values of the sort columns of the last row of a page: texts and numbers."""


def encode(key: bytes, query: ListQuery, position: Position) -> str:
    """Return the cursor of the page that follows a row.

    Args:
        key: Secret of this store, so that nobody can make cursors up.
        query: What is listed.
        position: Sort values of the last row given out.
    """
    return seal(key, _digest(query), position)


def decode(key: bytes, query: ListQuery) -> Position | None:
    """Return the position in a query's cursor; None when it has none.

    Raises:
        InvalidSpec: The cursor is damaged, or comes from another query or store.
    """
    return None if query.cursor is None else unseal(key, _digest(query), query.cursor)


def seal(key: bytes, listed: str, position: Position) -> str:
    """Return a position as a token that is good for one list.

    Args:
        key: Secret, so that nobody can make tokens up.
        listed: What is listed, in any words: only their digest is in the token.
        position: Where the next page starts.
    """
    body = json.dumps([_short(listed), *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_sign(key, body) + body).decode().rstrip("=")


def unseal(key: bytes, listed: str, token: str) -> Position:
    """Return the position in a token.

    Raises:
        InvalidSpec: It is damaged, or was made for another list or with another key.
    """
    try:
        padding = "=" * (-len(token) % 4)
        raw = base64.b64decode(token + padding, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise _refused() from error
    signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(key, body)):
        raise _refused()
    digest, *position = json.loads(body)
    if digest != _short(listed):
        raise _refused()
    return list(position)


def _refused() -> InvalidSpec:
    return InvalidSpec(
        "the next token must come, unchanged, from the page before, of a list with the same "
        "filters and order; start again without it"
    )


def _digest(query: ListQuery) -> str:
    return fingerprint(replace(query, limit=0, cursor=None))


def _short(listed: str) -> str:
    return hashlib.sha256(listed.encode()).hexdigest()[:32]


def _sign(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()[:_SIGNATURE_BYTES]

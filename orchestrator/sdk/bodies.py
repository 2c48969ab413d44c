"""What requests to a service are made of."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.errors import InvalidSpec

MAX_KEY_CHARACTERS = 255
LONGEST_WAIT_SECONDS = 60.0
ANSWER_SECONDS = 60.0


def body(request: dict[str, Any]) -> bytes:
    """Return a request as JSON.

    Raises:
        InvalidSpec: A text is not valid Unicode.
    """
    try:
        return json.dumps(request, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidSpec(
            f"every text of a request must be valid Unicode, got a part with {error.reason}; "
            "remove the lone surrogates"
        ) from error


def submission(request: dict[str, Any], idempotency_key: str) -> dict[str, Any]:
    """Return body and headers of a request that may be repeated.

    Raises:
        InvalidSpec: A text or the key cannot be sent.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": _key(idempotency_key)}
    return {"content": body(request), "headers": headers}


def waiting(after: int, timeout_seconds: float) -> dict[str, Any]:
    """Return parameters and patience of a request that waits for a change."""
    wait = min(max(timeout_seconds, 0.0), LONGEST_WAIT_SECONDS)
    query = {"after_revision": after, "timeout_seconds": wait}
    return {"params": query, "timeout": wait + ANSWER_SECONDS}


def given(query: dict[str, Any]) -> dict[str, Any]:
    """Return those parameters that are not left open."""
    return {key: value for key, value in query.items() if value is not None}


def _key(key: str) -> str:
    if not (key.isascii() and key.isprintable() and 1 <= len(key) <= MAX_KEY_CHARACTERS):
        raise InvalidSpec(
            f"an idempotency key must have 1 to {MAX_KEY_CHARACTERS} printable ASCII characters, "
            f"got {len(key)} ({key[:40]!r}…); use a UUID"
        )
    return key

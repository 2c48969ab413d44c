"""Sends JSON to an address that a user gave: once, with an end to the waiting, to nowhere else."""

from __future__ import annotations

import json
from typing import Any

ANSWER_SECONDS = 5.0
_MAY_PASS = frozenset({408, 425, 429})


class PostFailed(Exception):
    """The address did not take it.

    Attributes:
        is_final: Whether it never will.
    """

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


def post_json(url: str, value: dict[str, Any]) -> None:
    """Send a value; what the address answers is not read, where it points to is not gone.

    Raises:
        PostFailed: It was not taken.
    """
    import httpx  # noqa: PLC0415  # 0.1 s; most services never tell anybody

    body = json.dumps(value, allow_nan=False).encode("utf-8")
    headers = {"Content-Type": "application/json", "User-Agent": "orchestrator-debugger"}
    try:
        with (
            httpx.Client(timeout=ANSWER_SECONDS, follow_redirects=False) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise PostFailed(
            f"it does not answer ({type(error).__name__})",
            is_final=isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol),
        ) from error
    if not 200 <= status < 300:
        where = "; redirects are not followed" if 300 <= status < 400 else ""
        final = 300 <= status < 500 and status not in _MAY_PASS
        raise PostFailed(f"it answered {status}{where}", is_final=final)

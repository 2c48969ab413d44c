"""Access keys: derived from a home's bearer token, so that nothing more is stored.

Id and secret are HMACs of the token. Whoever has the token has the keys, a key does not give the
token away, and a new token revokes the old token's keys.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

ID_PREFIX = "ORCH"
"""No prefix of AWS's own: nobody, and no scanner for leaked keys, takes it for one of AWS's."""
ID_CHARACTERS = 20
SECRET_CHARACTERS = 40


@dataclass(frozen=True)
class AccessKey:
    """A pair of the form that AWS's clients take."""

    id: str
    secret: str = field(repr=False)


def variables(url: str, key: AccessKey, region: str) -> dict[str, str]:
    """Return what clients of AWS read to find a service; some have names of their own for parts of it.

    Args:
        url: Of the service.
        key: Theirs.
        region: Where they take it to be.
    """
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ALLOW_HTTP": "true",  # obstore, delta-rs
        "S3_ENDPOINT_URL": url,  # s5cmd
    }


def issue(token: str, *, for_jobs: bool = False) -> AccessKey:
    """Return the key of a bearer token; the same token always gives the same key.

    Args:
        token: The bearer token.
        for_jobs: The key that jobs get, which opens less.
    """
    prefix = b"job " if for_jobs else b""
    identity = base64.b32encode(_derive(token, prefix + b"id")).decode("ascii")
    secret = base64.b64encode(_derive(token, prefix + b"secret"), b"./").decode("ascii")
    return AccessKey(
        ID_PREFIX + identity[: ID_CHARACTERS - len(ID_PREFIX)], secret[:SECRET_CHARACTERS]
    )


def _derive(token: str, purpose: bytes) -> bytes:
    return hmac.digest(
        token.encode(), b"orchestrator aws access key v1 " + purpose, hashlib.sha256
    )


class Keys:
    """The keys of all tokens that open this service.

    Args:
        tokens: The bearer tokens.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._keys = tuple(
            issue(token, for_jobs=for_jobs) for token in tokens for for_jobs in (False, True)
        )

    def lookup(self, access_key: str) -> str | None:
        """Return the secret of a key, None when there is none; takes as long for either."""
        asked = access_key.encode("utf-8", "replace")
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.id.encode(), asked):
                found = key.secret
        return found

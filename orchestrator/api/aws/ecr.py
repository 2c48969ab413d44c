"""ECR: a login that docker takes, so that tools which log in before they pull go on."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.identity import Identity
from orchestrator.api.aws.operations import Handler
from orchestrator.clock import Clock

_LIFETIME = timedelta(hours=12)
_PASSWORD = "there-is-no-registry-here"  # noqa: S105  # opens nothing: no registry is served


class Ecr:
    """The operations of ECR that are served.

    Args:
        identity: Who everybody is here.
        clock: The time.
    """

    def __init__(self, identity: Identity, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {"GetAuthorizationToken": self.get_authorization_token}

    def get_authorization_token(self, given: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Return a login for each registry that is asked for."""
        token = base64.b64encode(f"AWS:{_PASSWORD}".encode()).decode("ascii")
        return {
            "authorizationData": [
                {
                    "authorizationToken": token,
                    "expiresAt": self._clock.now() + _LIFETIME,
                    "proxyEndpoint": f"https://{account}.dkr.ecr.{caller.region}.amazonaws.com",
                }
                for account in given.get("registryIds") or [self._identity.account]
            ]
        }

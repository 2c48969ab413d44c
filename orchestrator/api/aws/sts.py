"""STS: who asks. Always the same assumed role, so that ``role=None`` of the SDK finds one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.identity import Identity
from orchestrator.api.aws.operations import Handler


class Sts:
    """The operations of STS that are served.

    Args:
        identity: Who everybody is here.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {"GetCallerIdentity": self.get_caller_identity}

    def get_caller_identity(self, _input: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Say who signed."""
        return {
            "UserId": self._identity.user_id,
            "Account": self._identity.account,
            "Arn": self._identity.session_arn,
        }

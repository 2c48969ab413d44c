"""IAM: just enough for the SDK's look at its role. Roles are names here; everything is allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.identity import Identity, role_arn
from orchestrator.api.aws.operations import Handler

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
_CREATED = datetime(2020, 1, 1, tzinfo=UTC)
_MOST_EVALUATIONS = 100


class Iam:
    """The operations of IAM that are served.

    Args:
        identity: Who everybody is here.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {
            "GetRole": self.get_role,
            "SimulatePrincipalPolicy": self.simulate_principal_policy,
        }

    def get_role(self, given: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return any role that is asked for; SageMaker may assume it."""
        name = given["RoleName"]
        return {
            "Role": {
                "Path": "/",
                "RoleName": name,
                "RoleId": self._identity.role_id,
                "Arn": role_arn(name, self._identity.account),
                "CreateDate": _CREATED,
                "AssumeRolePolicyDocument": quote(json.dumps(_TRUST)),
                "MaxSessionDuration": 3600,
            }
        }

    def simulate_principal_policy(self, given: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Allow every action on every resource that is asked about, a page at a time."""
        asked = [
            (action, resource)
            for action in given["ActionNames"]
            for resource in given.get("ResourceArns") or ["*"]
        ]
        first = _number(given.get("Marker"))
        last = first + given.get("MaxItems", _MOST_EVALUATIONS)
        found: dict[str, Any] = {
            "EvaluationResults": [_allowed(*pair) for pair in asked[first:last]],
            "IsTruncated": last < len(asked),
        }
        if last < len(asked):
            found["Marker"] = str(last)
        return found


def _allowed(action: str, resource: str) -> dict[str, Any]:
    return {
        "EvalActionName": action,
        "EvalResourceName": resource,
        "EvalDecision": "allowed",
        "MatchedStatements": [],
        "MissingContextValues": [],
    }


def _number(marker: str | None) -> int:
    return int(marker) if marker and marker.isascii() and marker.isdigit() else 0

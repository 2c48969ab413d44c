"""The one account and role that everything here belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.ids import LOCAL_ACCOUNT

ROLE_NAME = "orchestrator"
SESSION_NAME = "orchestrator"


@dataclass(frozen=True)
class Identity:
    """Who every caller is; keys tell tokens apart, not people.

    Attributes:
        account: Of all ARNs.
        role_name: Of the role that callers have assumed.
    """

    account: str = LOCAL_ACCOUNT
    role_name: str = ROLE_NAME

    @property
    def role_arn(self) -> str:
        """ARN of the role."""
        return role_arn(self.role_name, self.account)

    @property
    def role_id(self) -> str:
        """Id of the role, of the form that IAM gives."""
        return "AROAORCHESTRATOR0000"

    @property
    def session_arn(self) -> str:
        """ARN of a session of the role, as STS names who asks."""
        return f"arn:aws:sts::{self.account}:assumed-role/{self.role_name}/{SESSION_NAME}"

    @property
    def user_id(self) -> str:
        """The session's id."""
        return f"{self.role_id}:{SESSION_NAME}"


def role_arn(name: str, account: str = LOCAL_ACCOUNT) -> str:
    """Return the ARN of a role."""
    return f"arn:aws:iam::{account}:role/{name}"

"""What a service gives to be served: a handler for each operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from orchestrator.api.aws.caller import Caller

Handler = Callable[[dict[str, Any], Caller], dict[str, Any]]
"""Takes a checked input and who asks, returns the output; values are those that botocore's parsers
give, times aware and in UTC. Raises AwsError or one of our own errors. Runs in a thread."""


class Operations(Protocol):
    """One service."""

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation, by its name in botocore's model."""
        ...

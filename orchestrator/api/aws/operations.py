"""What a service gives to be served: a handler for each operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.api.aws.caller import Caller

Handler = Callable[[dict[str, Any], Caller], dict[str, Any]]
"""Takes a checked input and who asks, returns the output; values are those that botocore's parsers
give, times aware and in UTC. Raises AwsError or one of our own errors. Runs in a thread."""

Input = tuple[dict[str, Any], Caller]
Answers = Sequence[dict[str, Any] | Exception | None]


@dataclass(frozen=True)
class Gathered:
    """A handler that answers many calls at once for little more than one costs.

    Attributes:
        alone: Answers one.
        together: Answers many, in order: with the output, what ``alone`` would raise, or None for a
            call that would hold up the others, which ``alone`` is then asked for.
    """

    alone: Handler
    together: Callable[[Sequence[Input]], Answers]

    def __call__(self, asked: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Answer one call."""
        return self.alone(asked, caller)


class Operations(Protocol):
    """One service."""

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation, by its name in botocore's model."""
        ...

"""What a rule found: the evidence, in numbers and in words."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_LAYERS = 20
_TEXT = 400


class Finding(NamedTuple):
    """A rule's verdict that something is wrong.

    Attributes:
        rule: Name of the rule, e.g. ``vanishing_gradient`` or ``VanishingGradient``.
        step: The step that decided, of that optimizer, counted from 0.
        message: One sentence: what was seen, with the numbers.
        cause: What that means, in plain words.
        remedies: Two or three things to try, the likeliest first.
        layers: Names of the tensors concerned, the worst first, at most MOST_LAYERS.
        values: The numbers that decided.
        optimizer: Index of the optimizer.
        name: The name that the user gave this rule; the rule's own by default.
    """

    rule: str
    step: int
    message: str
    cause: str = ""
    remedies: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    values: Mapping[str, float] = MappingProxyType({})
    optimizer: int = 0
    name: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it: numbers that are not finite become text."""
        return {
            "rule": self.rule,
            "name": self.name or self.rule,
            "step": self.step,
            "optimizer": self.optimizer,
            "layers": [layer[:_TEXT] for layer in self.layers[:MOST_LAYERS]],
            "values": {name: _number(value) for name, value in self.values.items()},
            "message": self.message,
            "cause": self.cause,
            "remedies": list(self.remedies),
        }


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)

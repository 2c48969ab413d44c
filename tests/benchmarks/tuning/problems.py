"""What is minimised: a space, and what its values cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.spec.ranges import Parameter

Values = Mapping[str, str]


@dataclass(frozen=True)
class Problem:
    """A space and a loss.

    Attributes:
        name: In tables.
        parameters: The space.
        loss: Of values, as a training job gets them; the smaller the better.
        optimum: The smallest loss.
        is_smooth: Whether nearby values cost alike, without many valleys.
    """

    name: str
    parameters: tuple[Parameter, ...]
    loss: Callable[[Values], float]
    optimum: float
    is_smooth: bool = False

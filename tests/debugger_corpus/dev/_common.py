"""What the scenarios of this half share: seeds, data, batches, schedules, labels."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy

from tests.debugger_corpus.scenario import Framework, Kind, Scenario

if TYPE_CHECKING:
    from torch import Tensor

LN_10 = math.log(10)
"""Cross entropy of a guess among ten classes."""


def seeded(seed: int) -> numpy.random.Generator:
    """Seed every generator in use and return NumPy's."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    return numpy.random.default_rng(seed)


def digits() -> tuple[Tensor, Tensor]:
    """Return the 1797 digits of scikit-learn, standardised as a whole, and their classes."""
    import torch
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    features = torch.tensor((pixels - pixels.mean()) / pixels.std(), dtype=torch.float32)
    return features, torch.tensor(classes)


def batches(generator: numpy.random.Generator, rows: int, size: int) -> Iterator[Tensor]:
    """Yield row numbers without end, shuffled anew for each epoch."""
    import torch

    while True:
        order = torch.from_numpy(generator.permutation(rows))
        for first in range(0, rows - size + 1, size):
            yield order[first : first + size]


def warm_up(steps: int) -> Callable[[int], float]:
    """Rise linearly from exactly zero."""
    return lambda step: min(1.0, step / steps)


def constant(step: int) -> float:
    """Keep the learning rate."""
    return 1.0


def ramp(first: int, factor: float) -> Callable[[int], float]:
    """Let the learning rate grow without bound from a step on, by mistake."""
    return lambda step: factor ** max(0, step - first)


def jump(at: int, factor: float) -> Callable[[int], float]:
    """Multiply the learning rate for a single step."""
    return lambda step: factor if step == at else 1.0


def raised(at: int, factor: float) -> Callable[[int], float]:
    """Multiply the learning rate for good."""
    return lambda step: factor if step >= at else 1.0


def climb(first: int, factor: float, most: float) -> Callable[[int], float]:
    """Let the learning rate grow from a step on, up to a limit."""
    return lambda step: min(most, factor ** max(0, step - first))


@dataclass(frozen=True)
class Family:
    """Scenarios that are one training function with different options."""

    architecture: str
    train: Callable[..., Iterator[float]]
    steps: int
    chance: float | None = None
    framework: Framework = "torch"

    def healthy(
        self, name: str, trap: str = "", *, learns: bool = True, onset: int = 0, **options: Any
    ) -> Scenario:
        """Nothing is wrong, though it may look so."""
        return self._scenario(name, "healthy", onset, trap, options, learns=learns)

    def plateau(self, name: str, trap: str, **options: Any) -> Scenario:
        """The loss stays where it is, by no fault of the gradients."""
        return self._scenario(name, "plateau", 0, trap, options)

    def ill(
        self,
        name: str,
        kind: Kind,
        twin: str,
        *also: Kind,
        onset: int = 0,
        trap: str = "",
        **options: Any,
    ) -> Scenario:
        """Inject a fault; ``twin`` has the same options without it."""
        return self._scenario(name, kind, onset, trap, options, twin=twin, also=frozenset(also))

    def _scenario(
        self,
        name: str,
        kind: Kind,
        onset: int,
        trap: str,
        options: dict[str, Any],
        *,
        also: frozenset[Kind] = frozenset(),
        twin: str | None = None,
        learns: bool = True,
    ) -> Scenario:
        return Scenario(
            name,
            "dev",
            self.architecture,
            kind,
            partial(self.train, **options),
            self.steps,
            onset=onset,
            also=also,
            twin=twin,
            chance=self.chance,
            learns=learns,
            trap=trap,
            framework=self.framework,
        )

"""One labelled training run: plain framework code, and what is true of it.

A scenario knows nothing of the debugger. Its ``train`` is written as a user would write a script,
with the real optimizer and the real loop, and yields once after every optimizer step. Labels are
not taken on trust: `verify` runs scenario and healthy twin and compares outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "healthy",  # it trains, or does what its author meant it to; no alarm is right
    "plateau",  # gradients are in order but the loss does not go down: only a warning is right
    "vanishing",  # gradients of early layers, or of most layers, become too small to learn from
    "exploding",  # gradients or loss grow without bound
    "non_finite",  # NaN or Inf appears though nothing grew before
    "dead",  # units that never fire again (ReLU)
    "saturated",  # units stuck at the ends of a sigmoid or tanh
    "unchanged",  # an optimizer step that changes nothing, or next to nothing
    "initialization",  # a bad start: scale, symmetry, zeros
]
Half = Literal["dev", "held"]
Framework = Literal["torch", "keras"]


@dataclass(frozen=True)
class Scenario:
    """A seeded run with its label.

    Attributes:
        name: Unique over both halves, e.g. ``mlp_sigmoid_20_vanishing``.
        half: Thresholds may be tuned on ``dev`` only.
        architecture: Family of the model, e.g. ``mlp``; the halves share none.
        kind: What is wrong, or ``healthy``.
        train: ``train(seed)`` yields a measure of quality (lower is better, usually the training
            loss) after each optimizer step. It seeds every generator itself, and is deterministic.
        steps: How many steps it yields at most.
        onset: The step, counted from 0, at which the fault begins.
        also: Other kinds that would be true of this run as well.
        twin: Name of the healthy scenario that is the same code without the fault.
        chance: Quality of a model that learnt nothing, e.g. ln 10 with ten classes; None where
            the first value is just that.
        learns: For healthy ones: whether the quality must fall to 0.9 of its start.
        trap: Which known trap for detectors this is, in a few words.
    """

    name: str
    half: Half
    architecture: str
    kind: Kind
    train: Callable[[int], Iterator[float]]
    steps: int
    onset: int = 0
    also: frozenset[Kind] = frozenset()
    twin: str | None = None
    chance: float | None = None
    learns: bool = True
    trap: str = ""
    framework: Framework = "torch"

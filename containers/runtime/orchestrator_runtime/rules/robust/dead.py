"""Units that are off for every input, so that nothing behind them learns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.robust.reach import ROUNDED_AWAY, only_first
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import StepRecord

CAUSE = (
    "the units of a layer give zero for every input (ReLU behind a large negative bias, mostly "
    "after too large a step): no gradient passes them, so they cannot come back"
)
REMEDIES = (
    "lower the learning rate, or warm it up: one bad step is enough to kill a layer",
    "use LeakyReLU, GELU or ELU, whose gradient is never zero everywhere",
    "check the initial biases, and scale the inputs to about zero mean and unit variance",
)
IDLE = 0.9
"""Share of a layer's units beyond which zeros are those of dead units."""
UNSEEN = 3
"""Times the patience where no activation shows that units are off."""


class DeadUnits(CourseRule):
    """Fires when weight matrices get exactly no gradient, step after step, and nothing is learnt."""

    name = "dead_units"
    parameters = (
        Parameter(
            "share", 0.5, "float", 0.01, 1, help="share of weight matrices without gradient"
        ),
        Parameter("patience", 15, "int", 1, help="steps for which it must hold"),
        Parameter("gain", 0.8, "float", 0, 1, help="share of the loss gained that means health"),
    )
    needs = (Need("gradients/l2"), Need("weights/l2", 10), Need("outputs/idle_units", 50))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._held = 0
        self._losses: list[float] = []
        self._alive = False
        self._blocked = False  # some activation is zero throughout
        self._seen = False  # a ReLU was looked at
        self._immortal = False  # all activations are others, e.g. tanh: they saturate, not die

    def judge(self, record: StepRecord) -> Finding | None:
        """Count matrices whose gradient is exactly zero."""
        block = record.blocks.get("gradients/l2")
        if record.skipped or block is None:
            return None
        outputs = record.blocks.get("outputs/idle_units")
        if outputs is not None:  # gradients also become zero by underflow, with units alive
            idle = [value for tensor, value in outputs.present() if tensor.role == "relu"]
            self._alive = bool(idle) and max(idle) < IDLE
            self._blocked = bool(idle) and max(idle) == 1.0
            self._immortal = bool(outputs.table.tensors) and not idle
            self._seen = bool(idle)
        if 0.0 not in block.values:
            self._held, self._alive, self._blocked = 0, False, False
            self._losses.clear()
            return None
        if self._alive or self._immortal:
            return None
        matrices = [(t.name, value) for t, value in block.present() if t.role == "matrix"]
        dead = [name for name, value in matrices if value == 0.0]
        few = len(dead) < self.number("share") * len(matrices) and not self._is_cut(matrices)
        if not dead or few or self._has_learnt(record) or self._is_another(matrices):
            self._held = 0
            self._losses.clear()
            return None
        self._held += 1
        self._losses.append(record.scalars.get("loss", math.nan))
        # Where no ReLU is known it is likelier something else, which others name meanwhile.
        if self._held < self.whole("patience") * (1 if self._seen else UNSEEN):
            return None
        if _falls(self._losses):  # the last layers learn, and may wake the others
            self._held = 0
            self._losses.clear()
            return None
        return Finding(
            self.name,
            record.step,
            f"{len(dead)} of {len(matrices)} weight matrices have had no gradient at all for "
            f"{self._held} steps",
            CAUSE,
            REMEDIES,
            tuple(dead),
            {"matrices": len(matrices), "dead": len(dead), "norm": self._run.norm},
        )

    def _is_cut(self, matrices: list[tuple[str, float]]) -> bool:
        """Return whether a layer that is off altogether keeps the inputs from all behind it.

        Then the first matrices have no gradient, and they alone; a branch that is off leaves others.
        """
        return self._blocked and only_first([value == 0.0 for _, value in matrices])

    def _is_another(self, matrices: list[tuple[str, float]]) -> bool:
        """Return whether something else explains the zeros.

        No gradient at all arrives, matrices of zeros stop it, or tiny numbers became zero.
        """
        if any(self._run.weights.get(name) == 0.0 for name, _ in matrices):
            return True
        present = [value for _, value in matrices if value]
        is_rounded = bool(present) and min(present) < ROUNDED_AWAY * max(present)
        return not self._blocked and (self._run.norm == 0.0 or is_rounded)

    def _has_learnt(self, record: StepRecord) -> bool:
        """Return whether it is zero because nothing is left to learn.

        A loss that fell from absurd heights and now stays where it is, above zero, has not learnt:
        so does that of a constant guess.
        """
        now, loss = record.scalars.get("loss", math.nan), self._run.loss
        return abs(now) < 1e-6 or (loss.gain > self.number("gain") and not loss.is_settled)


def _falls(losses: list[float]) -> bool:
    """Return whether the last third of some losses lies clearly below the first."""
    third = max(len(losses) // 3, 1)
    first, last = sorted(losses[:third]), sorted(losses[-third:])
    before, after = first[len(first) // 2], last[len(last) // 2]
    spread = max(first[-1] - first[0], last[-1] - last[0], 0.02 * abs(before))
    return after < before - spread

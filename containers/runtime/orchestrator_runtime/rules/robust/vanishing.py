"""Gradients that are too small to learn from, in the early layers or in all."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.robust.loss import CONVERGED
from orchestrator_runtime.rules.robust.reach import only_first
from orchestrator_runtime.rules.robust.run import FLOOR, ZERO
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator_runtime.trace.record import Block, StepRecord

CAUSE = (
    "on its way back through the layers the gradient is multiplied by factors below one "
    "(derivatives of sigmoid or tanh, small weights), so the first layers hardly learn"
)
REMEDIES = (
    "use ReLU, GELU or SELU with the initialisation made for it (He, LeCun) instead of sigmoid/tanh",
    "add residual connections or normalisation (BatchNorm, LayerNorm) between the layers",
    "start with fewer layers, or larger weights where the initialisation is small",
)
EVERY = 4
"""Steps between two looks: what vanishes stays away, and logarithms of all layers cost time."""
HOPELESS = 6.0
"""Decades over which nothing is learnt below the last layers, whatever the loss says."""
LATE = 4
"""Times the patience, where there was no gradient at all so far."""
ALIKE = 0.5
"""Decades by which root mean squares of the weights of different layers differ without a reason."""
MOST_MISSING = 3.0
"""Decades of a last layer's weights beyond which it will not grow by itself."""
GONE = -4.0
"""log10 of the importance of a layer that does not matter: a change by half is none of the loss."""
LONG = 2.5
"""Times the patience, for a single layer: a branch may be off for a while."""
ARRIVED = 0.1
"""Gradient norm over the first at which a run has come near a minimum."""
SUDDEN = 1e-3
"""Norm over the usual one that no way to a minimum has, but the loss of all gradients."""
SINGLE = 1.5
"""Decades by which a single layer may differ from its neighbours for reasons of its own.

Its shape, a head that begins with zero: a median of so many layers is off by that over their number.
"""


class VanishingGradient(CourseRule):
    """Fires when gradients relative to their weights fall by decades towards the first layers.

    Or when they are tiny everywhere. Only while the loss does not fall: what learns is healthy.
    The fewer layers, the more they must fall: a third of three layers is one, and one means little.
    """

    name = "vanishing_gradient"
    parameters = (
        Parameter(
            "decades", 1.3, "float", 0.1, 40, help="log10 of last over first layers, if very many"
        ),
        Parameter(
            "smallest", 1.2e-3, "float", 0, 1, help="|g||w|/|loss| of a typical layer that is tiny"
        ),
        Parameter("patience", 20, "int", 1, help="steps for which it must hold"),
        Parameter("warm_up", 8, "int", 0, help="steps that are not judged"),
        Parameter("gain", 0.3, "float", 0, 1, help="share of the loss gained that means health"),
    )
    needs = (Need("gradients/l2"), Need("weights/l2", 10))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._held = 0
        self._lost = 0
        self._dropped = False
        self._begun = False

    def judge(self, record: StepRecord) -> Finding | None:
        """Compare the gradients of first and last layers."""
        run = self._run
        block = record.blocks.get("gradients/l2")
        if record.skipped or block is None or run.steps <= self.whole("warm_up"):
            return None
        self._begun |= run.norm > 0.0
        if run.steps % EVERY or (not self._begun and self._may_wait()):
            return None
        self._dropped |= run.norm <= SUDDEN * run.usual_norm  # also if both are exactly zero
        is_moving = run.loss.is_moving and run.norm > 0.0  # without a gradient it is but noise
        if is_moving and not self._held and not self._lost:
            return None  # as in most steps of most runs
        profile = run.relative_gradients(block)
        if len(profile) < 3:
            return None
        missing = self._missing_at_end(profile, block)
        fall, middle = depth_profile([value for _, value in profile])
        fall -= 2.0 * missing
        importances = [value + missing for value in self._importances(record, profile)]
        importance = statistics.median(importances)
        if is_moving:  # a look or two may be chance
            self._lost = max(self._lost - 2 * EVERY, 0)
            self._held = max(self._held - 2 * EVERY, 0) if importance > GONE else self._held
            return None
        learns = self._learns(fall, importance)
        self._lost = self._lost + EVERY if self._is_lost(importances) and not learns else 0
        if learns or not self._is_small(fall, importance, profile):
            self._held = max(self._held - 2 * EVERY, 0)
        else:
            self._held += EVERY
        patience = self.whole("patience")
        is_cut = only_first([value == ZERO for _, value in profile])  # and no branch
        is_lost = self._lost >= LONG * patience and (_is_graded(profile) or is_cut)
        if is_lost or (self._held >= patience and _is_graded(profile)):
            return self._finding(record, profile, fall, middle)
        return None

    def _is_small(self, fall: float, importance: float, profile: list[tuple[str, float]]) -> bool:
        limit = self.number("decades") + SINGLE / third_of(profile)
        smallest = math.log10(max(self.number("smallest"), 1e-300))
        return fall > limit or (importance < smallest and not self._has_converged())

    def _is_lost(self, importances: list[float]) -> bool:
        """Return whether some layer does not matter to the loss, wherever it is in the model."""
        return min(importances) < GONE and not self._has_converged()

    def _may_wait(self) -> bool:
        """Return whether a run without any gradient so far may be in order.

        A loss of zero has none; `unchanged_weights` looks first for what was switched off.
        """
        return self._run.loss.fast == 0.0 or self._run.steps <= LATE * self.whole("patience")

    def _has_converged(self) -> bool:
        """Return whether gradients became small by and by, as on the way to a minimum.

        Full batches come to rest there, however much of the loss is noise that nobody can learn.
        """
        return self._run.norm < ARRIVED * self._run.first_norm and not self._dropped

    def _missing_at_end(self, profile: list[tuple[str, float]], block: Block) -> float:
        """Return by how many decades the last layer's weights are smaller than those of the others.

        A last layer that begins small, or with zeros, hides all layers before it until it has grown:
        by so much their gradients are too small, and its own is too large beside its weights.
        """
        sizes = {tensor.name: tensor.size for tensor in block.table.tensors}
        scales = [
            math.log10(max(self._run.weights.get(name, 0.0), 1e-30) / math.sqrt(sizes[name]))
            for name, _ in profile
        ]
        missing = statistics.median(scales[:-1]) - scales[-1]
        return min(missing, MOST_MISSING) if missing > ALIKE else 0.0

    def _importances(self, record: StepRecord, profile: list[tuple[str, float]]) -> list[float]:
        """Return `Run.importances`, with gradients as they were before clipping."""
        clipped = math.log10(record.scalars.get("clip") or 1.0)
        return [value - clipped for value in self._run.importances(profile)]

    def _learns(self, fall: float, importance: float) -> bool:
        # A last layer alone can learn the mean of the targets, which may be most of the loss.
        if fall > HOPELESS:
            return False
        enough = CONVERGED if importance < GONE else self.number("gain")
        return self._run.loss.kept_gain > enough

    def _finding(
        self, record: StepRecord, profile: list[tuple[str, float]], fall: float, middle: float
    ) -> Finding:
        first, last = profile[0], profile[-1]
        layers = [name for name, _ in sorted(profile, key=lambda pair: pair[1])]
        return Finding(
            self.name,
            record.step,
            f"gradients relative to their weights are 10^{first[1]:.1f} in {first[0]} and "
            f"10^{last[1]:.1f} in {last[0]}, and the loss does not fall",
            CAUSE,
            REMEDIES,
            tuple(layers[:10]),
            {
                "decades": fall,
                "median_log10": middle,
                "first_log10": first[1],
                "last_log10": last[1],
                "loss": record.scalars.get("loss", math.nan),
            },
        )


def depth_profile(values: list[float]) -> tuple[float, float]:
    """Return by how many decades the first third is below the last, and the median of all."""
    third = third_of(values)
    seen = [max(value, FLOOR) for value in values]
    fall = statistics.median(seen[-third:]) - statistics.median(seen[:third])
    return fall, statistics.median(seen)


def third_of(layers: Sequence[object]) -> int:
    """Return how many of some layers count as the first, and as the last."""
    return max(len(layers) // 3, 1)


def _is_graded(profile: list[tuple[str, float]]) -> bool:
    """Return whether gradients get small by and by; all at once is dead units or a cut graph."""
    known = [value for _, value in profile if value != ZERO]
    return len(known) in (0, len(profile)) or min(known) < -10

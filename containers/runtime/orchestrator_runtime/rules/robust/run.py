"""What the rules of one optimizer share: derived once per step."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.robust.loss import LossTrack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator_runtime.trace.record import Block, StepRecord

WINDOW = 60
"""Steps whose median gradient norm is the usual one."""
ZERO = -math.inf
FLOOR = -45.0
"""log10 that stands for an exact zero in medians: below the smallest single precision number."""


class Run:
    """The course of a run, as one optimizer shows it.

    Attributes:
        steps: Executed steps so far.
        loss: What the loss has done.
        norm: Total gradient norm of this step before clipping; nan where unknown.
        usual_norm: Median of what ``norm`` was in the WINDOW steps before, nan at first.
        first_norm: The first norm, nan before it.
        weights: Norms of the weights by name, as last recorded.
        weight: Total norm of the weights as last recorded.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.loss = LossTrack()
        self.norm = math.nan
        self.usual_norm = math.nan
        self.weights: dict[str, float] = {}
        self.weight = math.nan
        self.first_norm = math.nan
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._seen: StepRecord | None = None

    @classmethod
    def shared(cls, shared: dict[str, Any]) -> Run:
        """Return the one that all rules of an optimizer share."""
        run: Run = shared.setdefault("robust", cls())
        return run

    def take(self, record: StepRecord) -> None:
        """Take a step, once, whichever rule comes first."""
        if record is self._seen:
            return
        self._seen = record
        if record.skipped:
            return
        self.steps += 1
        loss = record.scalars.get("loss")
        if loss is not None:
            self.loss.take(loss)
        block = record.blocks.get("weights/l2")
        if block is not None:
            self.weights = {tensor.name: value for tensor, value in block.present()}
            self.weight = math.hypot(*self.weights.values())
        scalars = record.scalars
        self.norm = scalars.get("norm_before_clip", scalars.get("norm", math.nan))
        if self._norms and (self.steps % 5 == 1 or math.isnan(self.usual_norm)):
            self.usual_norm = statistics.median(self._norms)
        if math.isfinite(self.norm):
            if math.isnan(self.first_norm):
                self.first_norm = self.norm
            self._norms.append(self.norm)

    @property
    def elasticity(self) -> float:
        """Return by which multiple a relative change of the weights changes the loss, at most.

        ``|g| |w| / |loss|``: no scale of loss or weights changes it. Near its floor the loss is
        replaced by its start. A bound: see `elasticity_by_layer`.
        """
        return self.norm * self.weight / self._size

    def elasticity_by_layer(self, block: Block, norm: float) -> float:
        """Return the same, where every tensor changes by that share of itself.

        The sum of ``|g| |w|`` over the tensors: the large weights of one layer do not count for the
        gradients of another, as those before a normalisation would.

        Args:
            block: L2 of gradients.
            norm: Of all of them, after clipping; the result is that before clipping.
        """
        total = sum(
            value * self.weights.get(tensor.name, 0.0) for tensor, value in block.present()
        )
        return total * self.norm / norm / self._size if norm > 0.0 else 0.0

    @property
    def _size(self) -> float:
        return max(abs(self.loss.slow), abs(self.loss.start), 1e-30)

    def promised(self, record: StepRecord) -> float | None:
        """Return by which part of itself a step should change the loss, at most, to first order.

        That is the sum of ``|g| |dw|`` over the weights, over ``|loss|``, with gradients as they
        were before clipping. Like `elasticity` it knows no scale, and no optimizer. None where
        updates were not recorded, or nothing is known of the gradients.
        """
        updates = record.blocks.get("weights/update_ratio")
        gradients = record.blocks.get("gradients/l2")
        norm = record.scalars.get("norm", 0.0)
        if updates is None or gradients is None or not norm > 0.0:
            return None
        slopes = {tensor.name: value for tensor, value in gradients.present()}
        moved = sum(
            ratio * self.weights.get(tensor.name, 0.0) * slopes.get(tensor.name, 0.0)
            for tensor, ratio in updates.present()
        )
        return moved * self.norm / norm / max(abs(self.loss.slow), self.loss.scale)

    def relative_gradients(self, block: Block) -> list[tuple[str, float]]:
        """Return log10(|g| / |w|) of the weight matrices that have a gradient, in model order."""
        found = []
        for tensor, value in block.present():
            if tensor.role != "matrix":
                continue
            weight = self.weights.get(tensor.name, 0.0)
            if 0.0 < weight < math.inf and math.isfinite(value):
                ratio = value / weight
                found.append((tensor.name, math.log10(ratio) if ratio > 0 else ZERO))
        return found

    def importances(self, profile: Sequence[tuple[str, float]]) -> list[float]:
        """Return log10(|g| |w| / |loss|) of layers: by which part of itself each may change the loss.

        As gradients it falls with depth; unlike them it knows no scale of the loss.

        Args:
            profile: See `relative_gradients`.
        """
        size = math.log10(max(abs(self.loss.fast), self.loss.noise, 1e-30))
        return [
            max(value + 2.0 * math.log10(self.weights[name]), FLOOR) - size
            for name, value in profile
        ]

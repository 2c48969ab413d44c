"""Weights that begin where nothing can be learnt."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import StepRecord, Tensor

ONCE = 10**9
CAUSE = (
    "units that begin equal get equal gradients and stay equal: a layer of them is worth one unit, "
    "or none where all begins with zero"
)
REMEDIES = (
    "leave the framework's own initialisation, or use one made for the activation (He, Xavier)",
    "zeros are right for biases, and for the last layer of a residual branch only",
)


class PoorInitialization(CourseRule):
    """Fires when most weight matrices begin constant, or activations grow with depth.

    Only where the loss shows that it hurts.
    """

    name = "poor_initialization"
    parameters = (
        Parameter(
            "share", 0.6, "float", 0.01, 1, help="share of weight matrices that are constant"
        ),
        Parameter("patience", 15, "int", 1, help="steps in which nothing is learnt"),
        Parameter("gain", 0.1, "float", 0, 1, help="share of the loss gained that means health"),
        Parameter(
            "smallest", 0.02, "float", 0, 1, help="gain of a layer whose weights are too small"
        ),
        Parameter("growth", 1e3, "float", 1, help="activations of last over first layers"),
    )
    needs = (Need("weights/std", ONCE), Need("weights/l2", 10), Need("outputs/abs_max", 50))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._constant: list[str] = []
        self._matrices = 0
        self._small: list[str] = []
        self._meant = True
        self._growth: tuple[float, list[str]] = (0.0, [])

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at the first weights once, then at the loss."""
        block = record.blocks.get("weights/std")
        if block is not None and not self._matrices:
            matrices = [(t, v) for t, v in block.present() if t.role in {"matrix", "embedding"}]
            self._matrices = len(matrices)
            self._constant = [
                tensor.name for tensor, value in matrices if self._is_one(tensor, value)
            ]
            self._small = [
                t.name for t, _ in matrices if 0 < self._gain(t) < self.number("smallest")
            ]
            # Zeros may be meant, as in adapters and in the ends of branches; other constants never.
            zeros = [name for name in self._constant if not self._run.weights.get(name)]
            self._meant = len(zeros) == len(self._constant)
        outputs = record.blocks.get("outputs/abs_max")
        if outputs is not None and not self._growth[1]:
            self._growth = growth_of(list(outputs.present()))
        if record.skipped:
            return None
        if self._run.steps == self.whole("patience"):
            return self._on_constant(record) or self._on_growth(record)
        # Adaptive optimizers make small weights grow: they get twice the time.
        return self._on_small(record) if self._run.steps == 2 * self.whole("patience") else None

    def _on_small(self, record: StepRecord) -> Finding | None:
        many = max(self.number("share") * self._matrices, 2)
        loss = self._run.loss
        if len(self._small) < many or loss.best_gain > self.number("gain") or loss.is_moving:
            return None
        return Finding(
            self.name,
            record.step,
            f"{len(self._small)} of {self._matrices} weight matrices began so small that a layer "
            f"passes on less than {self.number('smallest'):.0%}, and nothing was learnt in "
            f"{self._run.steps} steps",
            "every layer shrinks what goes through it, and the gradient on its way back",
            REMEDIES[:1],
            tuple(self._small),
            {"small": len(self._small), "matrices": self._matrices},
        )

    def _gain(self, tensor: Tensor) -> float:
        """Return about by how much a layer multiplies what goes through it."""
        widest = max(tensor.shape[0], tensor.shape[-1]) if tensor.shape else 1
        return self._run.weights.get(tensor.name, 0.0) / math.sqrt(widest)

    def _is_one(self, tensor: Tensor, deviation: float) -> bool:
        """Return whether all elements are one value, but for rounding."""
        typical = self._run.weights.get(tensor.name, 0.0) / math.sqrt(tensor.size or 1)
        return deviation <= 1e-5 * typical

    def _on_growth(self, record: StepRecord) -> Finding | None:
        growth, layers = self._growth
        # What began absurdly large must fall by much more than usual to be well.
        if growth < self.number("growth") or self._run.loss.best_gain > 0.9:
            return None
        return Finding(
            self.name,
            record.step,
            f"activations grow {growth:.2g} times from the first to the last layers",
            "weights are so large that every layer multiplies what goes through it; losses and "
            "gradients begin absurdly large",
            REMEDIES,
            tuple(layers),
            {"growth": growth, "loss": self._run.loss.slow},
        )

    def _on_constant(self, record: StepRecord) -> Finding | None:
        share = self.number("share") if self._meant else self.number("share") / 2
        many = max(share * self._matrices, 2)  # one alone has no symmetry to break
        if len(self._constant) < many:
            return None
        if self._run.loss.best_gain > self.number("gain"):
            return None
        return Finding(
            self.name,
            record.step,
            f"{len(self._constant)} of {self._matrices} weight matrices began constant, and "
            f"nothing was learnt in {self._run.steps} steps",
            CAUSE,
            REMEDIES,
            tuple(self._constant),
            {"constant": len(self._constant), "matrices": self._matrices},
        )


def growth_of(outputs: list[tuple[Tensor, float]]) -> tuple[float, list[str]]:
    """Return how much larger the last third of the activations is than the first, and the largest."""
    values = [value for _, value in outputs if value > 0]
    if len(values) < 4:
        return 0.0, [""]
    third = len(values) // 3 or 1
    growth = statistics.median(values[-third:]) / statistics.median(values[:third])
    worst = sorted(outputs, key=lambda pair: -pair[1])[:5]
    return growth, [tensor.name for tensor, _ in worst]

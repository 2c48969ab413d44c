"""Weights that begin where nothing can be learnt."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.robust.reach import MATRICES
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import StepRecord, Tensor

ONCE = 10**9
LOOKS = 8
"""How often a start is judged; what has trained for longer suffers from something else."""
CAUSE = (
    "units that begin equal get equal gradients and stay equal: a layer of them is worth one unit, "
    "or none where all begins with zero"
)
REMEDIES = (
    "leave the framework's own initialisation, or use one made for the activation (He, Xavier)",
    "zeros are right for biases, and for the last layer of a residual branch only",
)


class PoorInitialization(CourseRule):
    """Fires when many weight matrices begin constant, far too small or far too large.

    Also when activations grow with depth. Only where the loss shows that it hurts. Zeros may be
    meant, as in adapters and at the ends of branches: training fills those. Other constants and
    zeros that stay are not.
    """

    name = "poor_initialization"
    parameters = (
        Parameter(
            "share", 0.3, "float", 0.01, 1, help="share of weight matrices that are constant"
        ),
        Parameter(
            "most", 0.6, "float", 0.01, 1, help="share of weight matrices too small or too large"
        ),
        Parameter("patience", 15, "int", 1, help="steps in which nothing is learnt"),
        Parameter("gain", 0.1, "float", 0, 1, help="share of the loss gained that means health"),
        Parameter(
            "smallest", 0.02, "float", 0, 1, help="gain of a layer whose weights are too small"
        ),
        Parameter("largest", 3.0, "float", 0, help="gain of a layer whose weights are too large"),
        Parameter("growth", 1e3, "float", 1, help="activations of last over first layers"),
    )
    needs = (
        Need("weights/std", ONCE),
        Need("gradients/l2"),
        Need("weights/l2", 10),
        Need("outputs/abs_max", 50),
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._constant: dict[str, bool] = {}
        self._matrices = 0
        self._names: list[str] = []
        self._small: list[str] = []
        self._large: list[str] = []
        self._growth: tuple[float, list[str]] = (0.0, [])

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at the first weights once, then now and then at the loss."""
        block = record.blocks.get("weights/std")
        if block is not None and not self._matrices:
            self._look_at([(t, v) for t, v in block.present() if t.role in MATRICES])
        outputs = record.blocks.get("outputs/abs_max")
        if outputs is not None and not self._growth[1]:
            self._growth = growth_of(list(outputs.present()))
        looks, between = divmod(self._run.steps, self.whole("patience"))
        if record.skipped or between or not 1 <= looks <= LOOKS:
            return None
        found = self._on_growth(record) if looks == 1 else None
        if self._run.loss.best_gain > self.number("gain") or self._run.loss.is_moving:
            return found
        # Adaptive optimizers make small weights grow, and large ones shrink: they get twice the time.
        return self._on_constant(record) or found or (self._on_size(record) if looks > 1 else None)

    def _look_at(self, matrices: list[tuple[Tensor, float]]) -> None:
        self._matrices = len(matrices)
        self._names = [tensor.name for tensor, _ in matrices]
        self._constant = {
            tensor.name: not self._run.weights.get(tensor.name)
            for tensor, deviation in matrices
            if self._is_one(tensor, deviation)
        }
        gains = {tensor.name: self._gain(tensor) for tensor, _ in matrices}
        smallest, largest = self.number("smallest"), self.number("largest")
        self._small = [name for name, gain in gains.items() if 0 < gain < smallest]
        self._large = [
            tensor.name
            for tensor, _ in matrices
            if tensor.role == "matrix" and gains[tensor.name] > largest
        ]

    def _on_size(self, record: StepRecord) -> Finding | None:
        many = max(self.number("most") * self._matrices, 2)
        steps = self._run.steps
        if len(self._small) >= many:
            return self._about(
                record,
                self._small,
                f"began so small that a layer passes on less than {self.number('smallest'):.0%}, "
                f"and nothing was learnt in {steps} steps",
                "every layer shrinks what goes through it, and the gradient on its way back",
            )
        if len(self._large) >= many:
            return self._about(
                record,
                self._large,
                f"began so large that a layer multiplies by more than {self.number('largest'):.3g}, "
                f"and nothing was learnt in {steps} steps",
                "such weights put units at the ends of their ranges, and a usual step hardly "
                "changes them",
            )
        return None

    def _about(self, record: StepRecord, layers: list[str], message: str, cause: str) -> Finding:
        return Finding(
            self.name,
            record.step,
            f"{len(layers)} of {self._matrices} weight matrices {message}",
            cause,
            REMEDIES,
            tuple(layers),
            {"layers": len(layers), "matrices": self._matrices},
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
        block = record.blocks.get("gradients/l2")
        # Without a gradient it is not the start that is wrong: see `unchanged_weights`.
        reached = {tensor.name: value for tensor, value in block.present()} if block else {}
        stuck = [
            name
            for name, is_zero in self._constant.items()
            if name in reached and not (is_zero and self._run.weights.get(name))
        ]
        # One alone has no symmetry to break, but zeros may keep gradients from all matrices.
        zeros = [name for name in stuck if self._constant[name]]
        blocks = bool(zeros) and not any(reached.get(name) for name in self._names)
        if len(stuck) < max(self.number("share") * self._matrices, 2) and not blocks:
            return None
        return self._about(
            record,
            stuck,
            f"began constant, and nothing was learnt in {self._run.steps} steps",
            CAUSE,
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

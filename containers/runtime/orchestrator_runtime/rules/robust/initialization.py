"""Weights that begin where nothing can be learnt."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.run import Run
from orchestrator_runtime.rules.rule import Need, Rule

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


class PoorInitialization(Rule):
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
        Parameter("growth", 1e3, "float", 1, help="activations of last over first layers"),
    )
    needs = (Need("weights/std", ONCE), Need("outputs/abs_max", 50))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._run = Run()
        self._constant: list[str] = []
        self._matrices = 0
        self._growth: tuple[float, list[str]] = (0.0, [])

    def share(self, shared: dict[str, Any]) -> None:
        """Use what the other rules have derived."""
        self._run = Run.shared(shared)

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at the first weights once, then at the loss."""
        self._run.take(record)
        block = record.blocks.get("weights/std")
        if block is not None and not self._matrices:
            matrices = [(t, v) for t, v in block.present() if t.role in {"matrix", "embedding"}]
            self._matrices = len(matrices)
            self._constant = [tensor.name for tensor, value in matrices if value == 0.0]
        outputs = record.blocks.get("outputs/abs_max")
        if outputs is not None and not self._growth[1]:
            self._growth = growth_of(list(outputs.present()))
        if self._run.steps != self.whole("patience") or record.skipped:
            return None
        return self._on_constant(record) or self._on_growth(record)

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
        many = max(self.number("share") * self._matrices, 2)  # one alone has no symmetry to break
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

"""Weights that begin where nothing can be learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.run import Run
from orchestrator_runtime.rules.rule import Need, Rule

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import StepRecord

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
    """Fires when most weight matrices begin constant, and the loss shows that it hurts."""

    name = "poor_initialization"
    parameters = (
        Parameter(
            "share", 0.5, "float", 0.01, 1, help="share of weight matrices that are constant"
        ),
        Parameter("patience", 15, "int", 1, help="steps in which nothing is learnt"),
        Parameter("gain", 0.1, "float", 0, 1, help="share of the loss gained that means health"),
    )
    needs = (Need("weights/std", ONCE),)

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._run = Run()
        self._constant: list[str] = []
        self._matrices = 0

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
        bad = (
            len(self._constant) > 1
            and len(self._constant) >= self.number("share") * self._matrices
        )
        if not bad or self._run.steps != self.whole("patience") or record.skipped:
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

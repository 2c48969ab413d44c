"""Steps that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import Block, StepRecord

REMEDIES = (
    "make the optimizer after the model is complete, with the parameters of that same model",
    "check requires_grad, detach(), and that zero_grad() is not called between backward and step",
    "check the learning rate and its schedule",
)


class UnchangedWeights(CourseRule):
    """Fires when an optimizer steps but its weights get no gradient, or do not change."""

    name = "unchanged_weights"
    parameters = (
        Parameter("patience", 20, "int", 1, help="steps without any gradient"),
        Parameter("samples", 3, "int", 1, help="update ratios in a row that are too small"),
        Parameter("ratio", 1e-6, "float", 0, 1, help="update ratio that changes nothing"),
        Parameter(
            "share", 0.5, "float", 0.01, 1, help="share of trainable matrices without gradient"
        ),
        Parameter("gain", 0.1, "float", 0, 1, help="share of the loss gained that means health"),
    )
    needs = (Need("gradients/l2"), Need("weights/update_ratio", 10))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._without = 0
        self._small = 0
        self._at_zero = 0
        self._rate = 0.0
        self._ever: set[str] = set()

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at who has a gradient, and at what changed."""
        if record.skipped:
            return None
        return self._on_gradients(record) or self._on_rate(record) or self._on_updates(record)

    def _learns(self) -> bool:
        return self._run.loss.best_gain > self.number("gain") or self._run.loss.is_moving

    def _has_converged(self) -> bool:
        """Return whether gradients are small because a minimum was reached."""
        return self._run.usual_norm < 0.1 * self._run.first_norm

    def _on_gradients(self, record: StepRecord) -> Finding | None:
        block = record.blocks.get("gradients/l2")
        missing = self._missing(block)
        if missing is None or (block is not None and self._learns()):
            self._without = 0
            return None
        self._without += 1
        if self._without < self.whole("patience") * (1 if block is None or missing else 2):
            return None
        return Finding(
            self.name,
            record.step,
            f"{len(missing)} weight matrices of the optimizer never had a gradient"
            if missing
            else f"no weight matrix of the optimizer has had a gradient for {self._without} steps",
            "backward() does not reach the weights that the optimizer was given",
            REMEDIES,
            tuple(missing),
            {"steps": self._without},
        )

    def _missing(self, block: Block | None) -> list[str] | None:
        """Return the matrices that should have had a gradient and never did; None = enough did."""
        if block is None:
            return []
        matrices = [
            (tensor, value)
            for tensor, value in zip(block.table.tensors, block.values)
            if tensor.role in {"matrix", "embedding"} and tensor.trainable
        ]
        self._ever.update(tensor.name for tensor, value in matrices if value is not None)
        if not matrices:
            return []  # a few biases, where a model is meant
        missing = [tensor.name for tensor, _ in matrices if tensor.name not in self._ever]
        enough = len(missing) < max(self.number("share") * len(matrices), 1)
        return None if enough else missing

    def _on_rate(self, record: StepRecord) -> Finding | None:
        if record.scalars.get("learning_rate") != 0.0 or self._learns():
            self._at_zero = 0
            return None
        self._at_zero += 1
        if self._at_zero < self.whole("patience"):
            return None
        return Finding(
            self.name,
            record.step,
            f"the learning rate has been 0 for {self._at_zero} steps, and nothing was learnt",
            "a step of size zero changes nothing",
            REMEDIES[::-1][:2],
            values={"learning_rate": 0.0, "steps": self._at_zero},
        )

    def _on_updates(self, record: StepRecord) -> Finding | None:
        block = record.blocks.get("weights/update_ratio")
        if block is None:
            return None
        ratios = [value for _, value in block.present()]
        rate, before = record.scalars.get("learning_rate", 0.0), self._rate
        self._rate = rate
        still = record.scalars.get("norm") == 0.0  # others know why
        if not ratios or still or max(ratios) > self.number("ratio") or self._learns():
            self._small = 0
            return None
        if rate > before or self._has_converged():  # it warms up, or has arrived
            return None
        self._small += 1
        if self._small < self.whole("samples"):
            return None
        return Finding(
            self.name,
            record.step,
            f"steps change the weights by at most {max(ratios):.1g} of their size",
            "the learning rate is zero or far too small for these gradients, so training stands "
            "still though it runs",
            REMEDIES[::-1],
            tuple(block.table.names[:10]),
            {
                "largest_ratio": max(ratios),
                "learning_rate": record.scalars.get("learning_rate", 0.0),
                "norm": record.scalars.get("norm", 0.0),
            },
        )

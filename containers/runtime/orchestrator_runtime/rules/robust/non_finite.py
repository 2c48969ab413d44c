"""NaN and infinity: the one fault that never heals by itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.rule import Need, Rule

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import StepRecord

CAUSE = (
    "a NaN or an infinity reached the weights' gradients, and every further step spreads it: "
    "an input that is not finite, log or division by zero, the square root of zero, or an "
    "overflow of half precision"
)
REMEDIES = (
    "check the inputs and labels of that batch with numpy.isfinite",
    "put a small epsilon inside log, sqrt and divisions, or use a loss that takes logits",
    "with half precision use a gradient scaler, or bfloat16; else lower the learning rate",
)


class NonFinite(Rule):
    """Fires at a step whose executed gradients are not finite, or at losses that are not.

    A gradient scaler leaves such steps out, as it should: only a long row of them is reported.
    """

    name = "non_finite"
    parameters = (
        Parameter("loss_patience", 2, "int", 1, help="losses in a row that are not finite"),
        Parameter("skip_patience", 50, "int", 1, help="steps in a row that a scaler left out"),
    )
    needs = (Need("gradients/l2"),)

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._losses = 0
        self._skipped = 0

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at gradients, loss, and whether steps are left out."""
        if record.skipped:
            self._skipped += 1
            return self._on_skips(record)
        self._skipped = 0
        norm = record.scalars.get("norm")
        if norm is not None and not math.isfinite(norm):
            return self._on_gradients(record, norm)
        loss = record.scalars.get("loss")
        if loss is None or math.isfinite(loss):
            self._losses = 0
            return None
        self._losses += 1
        if self._losses < self.whole("loss_patience"):
            return None
        return Finding(
            self.name,
            record.step,
            f"the loss has been {loss} for {self._losses} steps",
            CAUSE,
            REMEDIES,
            values={"loss": loss},
        )

    def _on_gradients(self, record: StepRecord, norm: float) -> Finding:
        block = record.blocks.get("gradients/l2")
        layers = [
            tensor.name
            for tensor, value in (block.present() if block is not None else ())
            if not math.isfinite(value)
        ]
        count = f"{len(layers)} of {len(block.values)} tensors" if block is not None else "tensors"
        return Finding(
            self.name,
            record.step,
            f"the gradients of {count} are not finite",
            CAUSE,
            REMEDIES,
            tuple(layers),
            {"norm": norm, "loss": record.scalars.get("loss", math.nan)},
        )

    def _on_skips(self, record: StepRecord) -> Finding | None:
        if self._skipped < self.whole("skip_patience"):
            return None
        return Finding(
            self.name,
            record.step,
            f"the gradient scaler has left out {self._skipped} steps in a row",
            "gradients overflow at every scale that was tried: nothing is learnt any more",
            (REMEDIES[0], REMEDIES[1], "train in bfloat16 or in single precision"),
            values={"skipped": self._skipped},
        )

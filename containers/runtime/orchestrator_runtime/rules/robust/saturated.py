"""Sigmoid and tanh units that stay at an end of their range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.robust.loss import CONVERGED
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import StepRecord

CAUSE = (
    "inputs of a sigmoid or tanh are so large that the output is at an end of its range for "
    "nearly every example; its derivative there is almost zero, so no gradient passes"
)
REMEDIES = (
    "normalise what goes in (inputs with zero mean and unit variance, LayerNorm, BatchNorm)",
    "initialise with less gain (Xavier), or lower the learning rate",
    "use a loss that takes logits instead of a sigmoid output with a squared error",
)


class SaturatedActivation(CourseRule):
    """Fires when most units of an activation are saturated, sample after sample, and the loss stays."""

    name = "saturated_activation"
    parameters = (
        Parameter("share", 0.6, "float", 0.01, 1, help="share of a layer's units"),
        Parameter("samples", 2, "int", 1, help="samples in a row"),
        Parameter("gain", 0.3, "float", 0, 1, help="share of the loss gained that means health"),
        Parameter(
            "gone",
            1e-3,
            "float",
            0,
            1,
            help="norm over the first one at which no gradient is left",
        ),
    )
    needs = (Need("outputs/saturated", 50),)

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._held: dict[str, int] = {}

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at a sample of activations."""
        block = record.blocks.get("outputs/saturated")
        if block is None:
            return None
        full = {t.name: value for t, value in block.present() if value >= self.number("share")}
        self._held = {name: self._held.get(name, 0) + 1 for name in full}
        layers = [name for name, count in self._held.items() if count >= self.whole("samples")]
        if not layers or self._learns():
            return None
        layers.sort(key=lambda name: -full[name])
        return Finding(
            self.name,
            record.step,
            f"{full[layers[0]]:.0%} of the units of {layers[0]} are at an end of their range",
            CAUSE,
            REMEDIES,
            tuple(layers),
            {name: full[name] for name in layers[:5]},
        )

    def _learns(self) -> bool:
        """Return whether it does no harm: the loss falls, or fell and stays there.

        Once no gradient is left nothing more can come, unless it was all there was to gain.
        """
        run = self._run
        is_gone = run.norm < self.number("gone") * run.first_norm
        enough = CONVERGED if is_gone else self.number("gain")
        return run.loss.kept_gain > enough or (run.loss.is_moving and run.norm > 0.0)

"""A rule over the first steps of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.base import BASE_TRIAL, DocumentedRule
from orchestrator_runtime.rules.documented.tensors import Measured, Selection
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import StepRecord

VARIANCE, SPREAD = "variance", "spread"


class PoorWeightInitialization(DocumentedRule):
    """Fires in the first ``steps`` saved steps if one of three signs is there.

    The largest variance of an activation layer's input is more than ``threshold`` times the
    smallest; or a gradient's 5th and 95th percentiles are closer than ``distribution_range``; or
    the loss has found no new minimum for ``patience`` saved steps.
    """

    name = "PoorWeightInitialization"
    parameters = (
        BASE_TRIAL,
        Parameter("activation_inputs_regex", (".*relu_input",), "patterns"),
        Parameter("threshold", 10.0, low=0.0),
        Parameter("distribution_range", 0.001, low=0.0),
        Parameter("patience", 5, "int", 1),
        Parameter("steps", 10, "int", 1),
    )
    own_series = True
    cause = "Layers of very different scale, or of hardly any, learn badly or not at all."
    remedies = (
        "Initialise for the activation: Kaiming for ReLU, Xavier for tanh and sigmoid.",
        "Add normalisation layers, and normalise the inputs.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._inputs = Selection((), self.words("activation_inputs_regex"), ("inputs",))
        self._gradients = Selection(("gradients",))
        self._judged = 0
        self._best = math.inf
        self._since_best = 0

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was judged."""
        if self._inputs.seen or self._gradients.seen or self._since_best or self._best < math.inf:
            return None
        return "PoorWeightInitialization: no variances, gradients or losses were recorded"

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        names = [*self._inputs.series(VARIANCE), *self._gradients.series(SPREAD)]
        return tuple(Need(name, self.every) for name in names)

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at one of the first saved steps, or at the step behind, if inputs come with that."""
        if record.step % self.every:
            return self._variances(record) if self._judged <= self.whole("steps") else None
        self._judged += 1
        if self._judged > self.whole("steps"):
            return None
        return self._variances(record) or self._spreads(record) or self._loss(record)

    def _variances(self, record: StepRecord) -> Finding | None:
        measured = list(self._inputs.values(record, VARIANCE))
        if len(measured) < 2:
            return None
        low, high = min(measured, key=_value), max(measured, key=_value)
        ratio = high.value / low.value if low.value > 0 else math.inf
        if not high.value > 0 or not ratio > self.number("threshold"):
            return None
        return self.found(
            record.step,
            f"inputs of {high.name} have {ratio:.4g} times the variance of those of {low.name}",
            [high.name, low.name],
            {"ratio": ratio, "largest": high.value, "smallest": low.value},
        )

    def _spreads(self, record: StepRecord) -> Finding | None:
        limit = self.number("distribution_range")
        narrow = [
            measured
            for measured in self._gradients.values(record, SPREAD)
            if measured.value < limit
        ]
        if not narrow:
            return None
        narrow.sort(key=_value)
        return self.found(
            record.step,
            f"5th and 95th percentile of {len(narrow)} gradients are closer than {limit:g}; "
            f"{narrow[0].name}: {narrow[0].value:.3g}",
            [measured.name for measured in narrow],
            {"spread": narrow[0].value, "tensors": len(narrow)},
        )

    def _loss(self, record: StepRecord) -> Finding | None:
        loss = record.scalars.get("loss")
        if loss is None:
            return None
        if loss < self._best:
            self._best, self._since_best = loss, 0
            return None
        self._since_best += 1
        if self._since_best < self.whole("patience"):
            return None
        return self.found(
            record.step,
            f"the loss has had no new minimum for {self._since_best} saved steps since "
            f"{self._best:.6g}",
            values={"loss": loss, "best": self._best, "steps": self._since_best},
        )


def _value(measured: Measured) -> float:
    return measured.value

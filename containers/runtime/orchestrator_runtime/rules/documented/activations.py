"""Rules over activation layers: units that never answer, or always with their limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.base import BASE_TRIAL, COLLECTION_NAMES, DocumentedRule
from orchestrator_runtime.rules.documented.tensors import Selection
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import StepRecord

INACTIVITY = Parameter("threshold_inactivity", 1.0, low=0.0, high=100.0)
LAYER = Parameter("threshold_layer", 50.0, low=0.0, high=100.0)


class DeadRelu(DocumentedRule):
    """Fires when more than ``threshold_layer`` percent of a layer's ReLUs are dead.

    Dead is one that is above zero for less than ``threshold_inactivity`` percent of its inputs.
    """

    name = "DeadRelu"
    parameters = (
        BASE_TRIAL,
        COLLECTION_NAMES,
        Parameter("tensor_regex", (".*relu_output",), "patterns"),
        INACTIVITY,
        LAYER,
    )
    own_series = True
    cause = "A ReLU that is never above zero has no gradient: it cannot come back."
    remedies = (
        "Lower the learning rate; check biases and initialisation of the layer before.",
        "Use LeakyReLU, ELU or GELU, or a normalisation layer before the activation.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.selection: Selection = Selection(
            self.words("collection_names"), self.words("tensor_regex"), ("outputs",)
        )
        self.statistic = f"inactive:{self.number('threshold_inactivity')}"

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        return tuple(Need(name, self.every) for name in self.selection.series(self.statistic))

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at a saved step."""
        limit = self.number("threshold_layer")
        dead = [
            (100 * measured.value, measured.name)
            for measured in self.selection.values(record, self.statistic)
            if 100 * measured.value > limit
        ]
        if not dead:
            return None
        dead.sort(key=lambda layer: -layer[0])
        share, worst = dead[0]
        return self.found(
            record.step,
            f"more than {limit:g} % of the ReLUs are dead in {len(dead)} layers; "
            f"{worst}: {share:.4g} %",
            [name for _, name in dead],
            {"dead_percent": share, "layers": len(dead)},
        )


class SaturatedActivation(DocumentedRule):
    """Fires when more than ``threshold_layer`` percent of a tanh or sigmoid layer are saturated.

    Saturated is a unit with inputs between the limits for less than ``threshold_inactivity``
    percent of the samples.
    """

    name = "SaturatedActivation"
    parameters = (
        BASE_TRIAL,
        COLLECTION_NAMES,
        Parameter("tensor_regex", (".*tanh_input|.*sigmoid_input",), "patterns"),
        Parameter("threshold_tanh_min", -9.4999),
        Parameter("threshold_tanh_max", 9.4999),
        Parameter("threshold_sigmoid_min", -23.0),
        Parameter("threshold_sigmoid_max", 16.99999),
        INACTIVITY,
        LAYER,
    )
    own_series = True
    cause = "At the ends of its range an activation is flat: hardly any gradient passes it."
    remedies = (
        "Normalise the inputs, or put a normalisation layer before the activation.",
        "Start from smaller weights (Xavier) and use a lower learning rate.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.selection: Selection = Selection(
            self.words("collection_names"), self.words("tensor_regex"), ("inputs",)
        )
        self.statistics = {kind: self._outside(kind) for kind in ("tanh", "sigmoid")}

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        return tuple(
            Need(name, self.every)
            for statistic in self.statistics.values()
            for name in self.selection.series(statistic)
        )

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at a saved step."""
        limit = self.number("threshold_layer")
        saturated = [
            (100 * share, name)
            for kind in self.statistics
            for name, share in self._shares(record, kind)
            if 100 * share > limit
        ]
        if not saturated:
            return None
        saturated.sort(key=lambda layer: -layer[0])
        share, worst = saturated[0]
        return self.found(
            record.step,
            f"more than {limit:g} % of the units are saturated in {len(saturated)} layers; "
            f"{worst}: {share:.4g} %",
            [name for _, name in saturated],
            {"saturated_percent": share, "layers": len(saturated)},
        )

    def _outside(self, kind: str) -> str:
        low, high = self.number(f"threshold_{kind}_min"), self.number(f"threshold_{kind}_max")
        return f"outside:{low}:{high}:{self.number('threshold_inactivity')}"

    def _shares(self, record: StepRecord, kind: str) -> list[tuple[str, float]]:
        """Return the shares of saturated units of the layers of one kind of activation."""
        return [
            (measured.name, measured.value)
            for measured in self.selection.values(record, self.statistics[kind])
            if measured.role == kind
        ]

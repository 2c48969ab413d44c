"""Rules over single tensors: too small, not finite, zero, of odd variance."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

from orchestrator_runtime.rules.documented.base import (
    BASE_TRIAL,
    COLLECTION_NAMES,
    TENSOR_REGEX,
    DocumentedRule,
)
from orchestrator_runtime.rules.documented.tensors import GATHERED, Measured, Selection
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import StepRecord

COMMON = (BASE_TRIAL, COLLECTION_NAMES, TENSOR_REGEX)


class TensorRule(DocumentedRule):
    """Judges one statistic of each chosen tensor."""

    default: Sequence[str] = GATHERED

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.selection: Selection = Selection(
            self.words("collection_names"), self.words("tensor_regex"), self.default
        )

    @property
    @abstractmethod
    def statistic(self) -> str:
        """The statistic that is judged."""

    @abstractmethod
    def is_wrong(self, value: float) -> bool:
        """Return whether a tensor's value makes the rule fire."""

    @abstractmethod
    def message(self, worst: Measured, number: int) -> str:
        """Say what is wrong with the worst of a number of tensors."""

    def badness(self, value: float) -> float:
        """Return by what wrong tensors are ordered, the largest first."""
        return value

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        return tuple(Need(name, self.every) for name in self.selection.series(self.statistic))

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at a saved step."""
        wrong = [
            measured
            for measured in self.selection.values(record, self.statistic)
            if self.is_wrong(measured.value)
        ]
        if not wrong:
            return None
        wrong.sort(key=lambda measured: -self.badness(measured.value))
        return self.found(
            record.step,
            self.message(wrong[0], len(wrong)),
            [measured.name for measured in wrong],
            {self.statistic.partition(":")[0]: wrong[0].value, "tensors": len(wrong)},
        )


class VanishingGradient(TensorRule):
    """Fires when the mean of a gradient's absolute values is below the threshold."""

    name = "VanishingGradient"
    parameters = (*COMMON, Parameter("threshold", 1e-7, low=0.0))
    default = ("gradients",)
    statistic = "abs_mean"
    cause = (
        "These weights are hardly changed any more: what they do to the loss does not reach them."
    )
    remedies = (
        "Use ReLU-like activations, normalisation layers or residual connections.",
        "Initialise for the activation (Kaiming, Xavier) and check the learning rate.",
    )

    def is_wrong(self, value: float) -> bool:
        """Return whether a gradient is too small."""
        return value < self.number("threshold")

    def badness(self, value: float) -> float:
        """Order by size."""
        return -value

    def message(self, worst: Measured, number: int) -> str:
        """Say how small the smallest is."""
        return (
            f"mean |gradient| of {number} tensors is below {self.number('threshold'):g}; "
            f"smallest: {worst.name} with {worst.value:.3g}"
        )


class ExplodingTensor(TensorRule):
    """Fires when a tensor holds NaN or (unless ``only_nan``) infinite values."""

    name = "ExplodingTensor"
    parameters = (*COMMON, Parameter("only_nan", False, "bool"))
    cause = "The computation has left the range of its numbers; all that follows from it is lost."
    remedies = (
        "Lower the learning rate, or clip gradients by their norm.",
        "Look for log(0), division by 0 and overflow in half precision; check the input data.",
    )

    @property
    def statistic(self) -> str:
        """The number of elements that are not as they should be."""
        return "nan" if self.values["only_nan"] else "non_finite"

    def is_wrong(self, value: float) -> bool:
        """Return whether there are any."""
        return value > 0

    def message(self, worst: Measured, number: int) -> str:
        """Say how many there are."""
        kind = "NaN" if self.values["only_nan"] else "not finite"
        return f"{number} tensors hold values that are {kind}; {worst.name}: {worst.value:.0f}"


class AllZero(TensorRule):
    """Fires when at least ``threshold`` percent of a tensor are zero."""

    name = "AllZero"
    parameters = (*COMMON, Parameter("threshold", 100.0, low=0.0, high=100.0))
    statistic = "zeros"
    cause = "A tensor of zeros carries no information: nothing is learned through it."
    remedies = (
        "Check initialisation, frozen layers and masks of the tensors named.",
        "Check the input data and the preprocessing for constant zeros.",
    )

    def is_wrong(self, value: float) -> bool:
        """Return whether enough is zero."""
        return value * 100 >= self.number("threshold")

    def message(self, worst: Measured, number: int) -> str:
        """Say how much is zero."""
        return (
            f"{number} tensors have at least {self.number('threshold'):g} % zeros; "
            f"{worst.name}: {worst.value * 100:.4g} %"
        )


class TensorVariance(TensorRule):
    """Fires when a tensor's variance is above the one or below the other threshold."""

    name = "TensorVariance"
    parameters = (
        *COMMON,
        Parameter("max_threshold", None, low=0.0),
        Parameter("min_threshold", None, low=0.0),
    )
    statistic = "variance"
    cause = (
        "Neurons saturate under values that spread widely, and learn little from such that do not."
    )
    remedies = (
        "Initialise for the activation (Kaiming, Xavier) and normalise inputs and layers.",
        "Lower the learning rate or add weight decay if the variance has grown in training.",
    )

    @property
    def _limits(self) -> tuple[float | None, float | None]:
        low, high = self.values["min_threshold"], self.values["max_threshold"]
        return cast("float | None", low), cast("float | None", high)

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing can be found."""
        if self._limits != (None, None):
            return super().not_evaluated
        return "TensorVariance: neither max_threshold nor min_threshold is set; set one"

    def is_wrong(self, value: float) -> bool:
        """Return whether a variance is outside of the limits."""
        low, high = self._limits
        return (high is not None and value > high) or (low is not None and value < low)

    def message(self, worst: Measured, number: int) -> str:
        """Say what the variance is."""
        low, high = self._limits
        return (
            f"variance of {number} tensors is outside of {low} to {high}; "
            f"{worst.name}: {worst.value:.3g}"
        )

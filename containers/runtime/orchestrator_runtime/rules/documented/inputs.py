"""Rules over what a model is fed with."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.arrays import is_one_of, numbers, stride
from orchestrator_runtime.rules.documented.base import BASE_TRIAL, DocumentedRule
from orchestrator_runtime.rules.parameters import Parameter, RuleError
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import Array

IMAGES, SEQUENCES = "input_image", "input_sequence"
"""Collections of the model's first input, where it holds images or words."""


class CheckInputImages(DocumentedRule):
    """Fires when a colour channel's mean differs from zero by more than ``threshold_mean``.

    The mean is that of all images seen, and judged from ``threshold_samples`` of them on.
    """

    name = "CheckInputImages"
    parameters = (
        BASE_TRIAL,
        Parameter("threshold_mean", 0.2, low=0.0),
        Parameter("threshold_samples", 500, "int", 1),
        Parameter("regex", ".*hybridsequential0_input_0", "pattern"),
        Parameter("channel", 1, "int", 0),
    )
    cause = "The images are not normalised: training is slower, and pretrained weights do not fit."
    remedies = (
        "Subtract the data set's mean per channel and divide by its standard deviation.",
        "Check `channel`: PyTorch has colours at 1, TensorFlow at 3.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._pattern = re.compile(str(self.values["regex"]))
        self._sums: list[float] = []
        self._counts: list[int] = []
        self._images = 0

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was judged."""
        return None if self._images else "CheckInputImages: no images were recorded"

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        return (Need(f"{IMAGES}/array", self.every, self._pattern.pattern),)

    def observe_array(self, array: Array) -> Finding | None:
        """Look at a batch of images."""
        channel = self.whole("channel")
        if (
            not is_one_of(array, IMAGES, [self._pattern])
            or channel >= len(array.shape)
            or not math.prod(array.shape)
        ):
            return None
        self._add(array, channel)
        self._images += array.shape[0] if channel else 1
        if self._images < self.whole("threshold_samples"):
            return None
        means = [total / count for total, count in zip(self._sums, self._counts)]
        worst = max(range(len(means)), key=lambda each: abs(means[each]))
        if abs(means[worst]) <= self.number("threshold_mean"):
            return None
        return self.found(
            array.step,
            f"the mean of colour channel {worst} of {self._images} images is {means[worst]:.4g}",
            [array.name],
            {"mean": means[worst], "channel": worst, "images": self._images},
        )

    def _add(self, array: Array, channel: int) -> None:
        values, channels = numbers(array), array.shape[channel]
        if len(self._sums) != channels:
            self._sums, self._counts = [0.0] * channels, [0] * channels
            self._images = 0
        inner = math.prod(array.shape[channel + 1 :])
        step = stride(len(values))
        for plane, begin in enumerate(range(0, len(values), inner)):
            some = values[begin : begin + inner : step]
            self._sums[plane % channels] += math.fsum(some)
            self._counts[plane % channels] += len(some)


class NLPSequenceRatio(DocumentedRule):
    """Fires when more than a percentage of a batch of words is one of the given ones."""

    name = "NLPSequenceRatio"
    parameters = (
        BASE_TRIAL,
        Parameter("tensor_regex", (".*embedding0_input_0",), "patterns"),
        Parameter("token_values", ("0",), "names"),
        Parameter("token_thresholds_percent", ("50",), "names"),
    )
    cause = "Much of what is computed is padding, or unknown to the vocabulary."
    remedies = (
        "Padding: put sequences of similar length into a batch, or pack them.",
        "Unknown words: use a larger vocabulary, or one of sub-words.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._patterns = [re.compile(pattern) for pattern in self.words("tensor_regex")]
        tokens, limits = self._list("token_values"), self._list("token_thresholds_percent")
        if len(tokens) != len(limits):
            raise RuleError(
                f"NLPSequenceRatio: {len(tokens)} token_values but {len(limits)} "
                "token_thresholds_percent; give a percentage for each token"
            )
        self._limits = list(zip(tokens, limits))
        self._seen = False

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was judged."""
        return None if self._seen else "NLPSequenceRatio: no input of an embedding was recorded"

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        patterns = "|".join(pattern.pattern for pattern in self._patterns) or None
        return (Need(f"{SEQUENCES}/array", self.every, patterns),)

    def observe_array(self, array: Array) -> Finding | None:
        """Look at a batch of words."""
        if not is_one_of(array, SEQUENCES, self._patterns) or not math.prod(array.shape):
            return None
        self._seen = True
        values = numbers(array)
        values = values[:: stride(len(values))]
        for token, limit in self._limits:
            percent = 100 * values.count(token) / len(values)
            if percent > limit:
                return self.found(
                    array.step,
                    f"{percent:.4g} % of {array.name} are token {token:g}; more than {limit:g} %",
                    [array.name],
                    {"token": token, "percent": percent},
                )
        return None

    def _list(self, name: str) -> list[float]:
        try:
            return [float(word) for word in self.words(name)]
        except ValueError as error:
            raise RuleError(
                f"NLPSequenceRatio: parameter {name!r} is {self.values[name]!r}: numbers "
                "separated by commas are needed"
            ) from error

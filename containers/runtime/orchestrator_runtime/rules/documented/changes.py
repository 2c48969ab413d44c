"""Rules over what a tensor was before, in this run or in another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.base import (
    BASE_TRIAL,
    COLLECTION_NAMES,
    TENSOR_REGEX,
    DocumentedRule,
)
from orchestrator_runtime.rules.documented.tensors import Selection
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import StepRecord

COMMON = (BASE_TRIAL, COLLECTION_NAMES, TENSOR_REGEX)


class WeightUpdateRatio(DocumentedRule):
    """Fires when a weight changes by too much or too little, in terms of its own norm.

    The statistic ``moved:EPSILON`` compares with the tensor of the previous save, which is
    ``num_steps`` ago where that is given. Only this rule has it saved, so all values are judged.
    """

    name = "WeightUpdateRatio"
    parameters = (
        *COMMON,
        Parameter("num_steps", None, "int", 1),
        Parameter("large_threshold", 10.0, low=0.0),
        Parameter("small_threshold", 1e-8, low=0.0),
        Parameter("epsilon", 1e-9, low=0.0),
    )
    own_series = True
    cause = "Updates do not fit the weights: large ones destroy what was learned, tiny ones learn nothing."
    remedies = (
        "Too large: lower the learning rate, clip gradients, warm up.",
        "Too small: raise the learning rate; look for frozen layers and vanishing gradients.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        if self.values["num_steps"] is not None:
            self.every = self.whole("num_steps")
        self.selection: Selection = Selection(
            self.words("collection_names"), self.words("tensor_regex"), ("weights",)
        )
        self.statistic = f"moved:{self.number('epsilon')}"

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        return tuple(Need(name, self.every) for name in self.selection.series(self.statistic))

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at a step that has the statistic."""
        low, high = self.number("small_threshold"), self.number("large_threshold")
        wrong = [
            measured
            for measured in self.selection.values(record, self.statistic)
            if measured.value > high or measured.value < low
        ]
        if not wrong:
            return None
        worst = max(wrong, key=lambda each: abs(math.log(each.value or 1e-300)))
        return self.found(
            record.step,
            f"update / weight of {len(wrong)} tensors is outside of {low:g} to {high:g}; "
            f"{worst.name}: {worst.value:.3g}",
            [worst.name] + [each.name for each in wrong if each is not worst],
            {"update_ratio": worst.value, "tensors": len(wrong)},
        )


class UnchangedTensor(DocumentedRule):
    """Fires when a tensor was the same, within tolerances, at ``num_steps`` saves in a row.

    The statistic ``unchanged:RTOL:ATOL[:nan]`` compares with the previous save. Only this rule
    has it saved, so all values are judged.
    """

    name = "UnchangedTensor"
    parameters = (
        *COMMON,
        Parameter("num_steps", 3, "int", 2),
        Parameter("rtol", 1e-5, low=0.0),
        Parameter("atol", 1e-8, low=0.0),
        Parameter("equal_nan", False, "bool"),
    )
    own_series = True
    cause = "What does not change any more is not trained, or the computation gives a constant."
    remedies = (
        "Check that the tensor requires gradients and belongs to an optimizer.",
        "Look for a learning rate of zero, vanishing gradients or a finished schedule.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.selection: Selection = Selection(
            self.words("collection_names"), self.words("tensor_regex")
        )
        self.statistic = f"unchanged:{self.number('rtol')}:{self.number('atol')}"
        if self.values["equal_nan"]:
            self.statistic += ":nan"
        self._same: dict[tuple[str, str], int] = {}
        self._losses: dict[str, float] = {}

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        return tuple(Need(name, self.every) for name in self.selection.series(self.statistic))

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at a step that has the statistic, or a saved loss."""
        seen = [
            ((measured.collection, measured.name), measured.value >= 1)
            for measured in self.selection.values(record, self.statistic)
        ]
        if record.step % self.every == 0:
            seen += self._compare_losses(record)
        for key, same in seen:
            self._same[key] = self._same.get(key, 0) + 1 if same else 0
        steps = self.whole("num_steps")
        stuck = [key[1] for key, _ in seen if self._same[key] >= steps - 1]
        if not stuck:
            return None
        return self.found(
            record.step,
            f"{len(stuck)} tensors have not changed over the last {steps} saves; {stuck[0]}",
            stuck,
            {"tensors": len(stuck), "saves": steps},
        )

    def _compare_losses(self, record: StepRecord) -> list[tuple[tuple[str, str], bool]]:
        seen = []
        for name, value in self.selection.losses(record):
            before = self._losses.get(name)
            self._losses[name] = value
            same = before is not None and self._is_close(value, before)
            seen.append((("losses", name), same))
        return seen

    def _is_close(self, now: float, before: float) -> bool:
        """Compare as ``numpy.allclose`` does."""
        if math.isnan(now) or math.isnan(before):
            return bool(self.values["equal_nan"]) and math.isnan(now) and math.isnan(before)
        if math.isinf(now) or math.isinf(before):
            return now == before
        return abs(now - before) <= self.number("atol") + self.number("rtol") * abs(before)

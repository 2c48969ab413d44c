"""Rules over labels and predictions of classifiers."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from orchestrator_runtime.rules.documented.arrays import MOST_ELEMENTS, classes, is_one_of
from orchestrator_runtime.rules.documented.base import BASE_TRIAL, DocumentedRule
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import Array

LABELS, PREDICTIONS = "labels", "predictions"


class PairRule(DocumentedRule):
    """Judges labels and predictions of the same step, which come one after the other."""

    argmax = True
    """Whether scores are taken by their largest."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._waiting: dict[str, Array] = {}
        self._reason: str | None = f"{self.name}: no labels with predictions were recorded"

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was judged."""
        return self._reason

    @abstractmethod
    def places(self) -> dict[str, tuple[str, str]]:
        """Return collections and patterns of labels and predictions."""

    @abstractmethod
    def judge_pairs(self, step: int, labels: list[int], predictions: list[int]) -> Finding | None:
        """Look at the labels and predictions of one step."""

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        return tuple(
            Need(f"{collection}/array", self.every, pattern)
            for collection, pattern in self.places().values()
        )

    def observe_array(self, array: Array) -> Finding | None:
        """Look at a tensor; with its counterpart if that is there."""
        for kind, (collection, pattern) in self.places().items():
            if is_one_of(array, collection, [re.compile(pattern)]):
                self._waiting[kind] = array
                break
        else:
            return None
        labels, predictions = self._waiting.get(LABELS), self._waiting.get(PREDICTIONS)
        if labels is None or predictions is None or labels.step != predictions.step:
            return None
        self._waiting.clear()
        return self._judge(labels, predictions)

    def _judge(self, labels: Array, predictions: Array) -> Finding | None:
        if math.prod(predictions.shape) > 16 * MOST_ELEMENTS:
            self._reason = f"{self.name}: predictions of shape {predictions.shape} are too many"
            return None
        if not self.argmax and math.prod(labels.shape) != math.prod(predictions.shape):
            self._reason = f"{self.name}: predictions are scores; set argmax to True"
            return None
        try:
            pairs = classes(labels), classes(predictions, labels)
        except (ValueError, OverflowError) as error:
            self._reason = f"{self.name}: {error}"
            return None
        self._reason = None
        return self.judge_pairs(labels.step, *pairs)


class ClassImbalance(PairRule):
    """Fires when classes are seen very unequally often, or one is mostly mispredicted.

    Both are looked at as soon as ``samples`` labels have been seen.
    """

    name = "ClassImbalance"
    parameters = (
        BASE_TRIAL,
        Parameter("threshold_imbalance", 10.0, low=0.0),
        Parameter("threshold_misprediction", 0.7, low=0.0, high=1.0),
        Parameter("samples", 500, "int", 1),
        Parameter("argmax", False, "bool"),
        Parameter("labels_regex", ".*labels", "pattern"),
        Parameter("predictions_regex", ".*predictions", "pattern"),
    )
    cause = "The model sees too little of some classes to tell them from others."
    remedies = (
        "Sample rare classes more often, or weight the loss by class.",
        "Judge by metrics per class, not by accuracy.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.argmax = bool(self.values["argmax"])
        self._seen: Counter[int] = Counter()
        self._wrong: Counter[int] = Counter()

    def places(self) -> dict[str, tuple[str, str]]:
        """Return collections and patterns of labels and predictions."""
        return {
            LABELS: (LABELS, str(self.values["labels_regex"])),
            PREDICTIONS: (PREDICTIONS, str(self.values["predictions_regex"])),
        }

    def judge_pairs(self, step: int, labels: list[int], predictions: list[int]) -> Finding | None:
        """Count, and compare."""
        self._seen.update(labels)
        self._wrong.update(label for label, guess in zip(labels, predictions) if label != guess)
        if sum(self._seen.values()) < self.whole("samples"):
            return None
        return self._imbalance(step) or self._mispredictions(step)

    def _imbalance(self, step: int) -> Finding | None:
        (largest, most), (smallest, least) = (
            max(self._seen.items(), key=lambda item: item[1]),
            min(self._seen.items(), key=lambda item: item[1]),
        )
        if most / least <= self.number("threshold_imbalance"):
            return None
        return self.found(
            step,
            f"class {largest} has {most} samples, class {smallest} has {least}",
            values={"ratio": most / least, "samples": sum(self._seen.values())},
        )

    def _mispredictions(self, step: int) -> Finding | None:
        shares = {label: self._wrong[label] / count for label, count in self._seen.items()}
        worst = max(shares, key=lambda label: shares[label])
        if shares[worst] <= self.number("threshold_misprediction"):
            return None
        return self.found(
            step,
            f"{100 * shares[worst]:.4g} % of {self._seen[worst]} samples of class {worst} are "
            "mispredicted",
            values={"class": worst, "share": shares[worst], "samples": self._seen[worst]},
        )


class Confusion(PairRule):
    """Fires when the confusion matrix violates one of its two limits.

    Counts add up over the run and are looked at as soon as each category has been a label. A
    category's share *of the diagonal* must be at least ``min_diag``, so with the documented
    default of 0.9 the rule fires for any two categories: that is what the guide's formula says.
    """

    name = "Confusion"
    parameters = (
        BASE_TRIAL,
        Parameter("category_no", None, "int", 2),
        Parameter("labels", "labels", "pattern"),
        Parameter("predictions", "predictions", "pattern"),
        Parameter("labels_collection", "labels", "str"),
        Parameter("predictions_collection", "predictions", "str"),
        Parameter("min_diag", 0.9, low=0.0, high=1.0),
        Parameter("max_off_diag", 0.1, low=0.0, high=1.0),
    )
    cause = "Some categories are taken for others, or are hit much less often than others."
    remedies = (
        "Look at samples of the pair named: labels may be wrong, or features missing.",
        "Set min_diag to the share that a category should have, e.g. 0.5 / category_no.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._counts: Counter[tuple[int, int]] = Counter()
        self._largest = 1

    def places(self) -> dict[str, tuple[str, str]]:
        """Return collections and patterns of labels and predictions."""
        return {
            kind: (str(self.values[f"{kind}_collection"]), str(self.values[kind]))
            for kind in (LABELS, PREDICTIONS)
        }

    def judge_pairs(self, step: int, labels: list[int], predictions: list[int]) -> Finding | None:
        """Count, and compare."""
        self._counts.update(zip(labels, predictions))
        self._largest = max([self._largest, *labels, *predictions])
        given = cast("int | None", self.values["category_no"])
        categories = range(self._largest + 1 if given is None else given)
        if not {label for label, _ in self._counts}.issuperset(categories):
            return None
        return self._diagonal(step, categories) or self._rest(step, categories)

    def _diagonal(self, step: int, categories: range) -> Finding | None:
        hits = sum(self._counts[each, each] for each in categories)
        worst = min(categories, key=lambda each: self._counts[each, each])
        share = self._counts[worst, worst] / hits if hits else 0.0
        if share >= self.number("min_diag"):
            return None
        return self.found(
            step,
            f"category {worst} has {share:.4g} of the {hits} right predictions, less than "
            f"{self.number('min_diag'):g}",
            values={"category": worst, "share": share, "right": hits},
        )

    def _rest(self, step: int, categories: range) -> Finding | None:
        predicted = {
            guess: sum(self._counts[label, guess] for label in categories) for guess in categories
        }
        shares = {
            (label, guess): self._counts[label, guess] / predicted[guess]
            for label in categories
            for guess in categories
            if label != guess and predicted[guess]
        }
        worst = max(shares, key=lambda pair: shares[pair], default=None)
        if worst is None or shares[worst] <= self.number("max_off_diag"):
            return None
        return self.found(
            step,
            f"{shares[worst]:.4g} of what is predicted as category {worst[1]} is {worst[0]}",
            values={"label": worst[0], "prediction": worst[1], "share": shares[worst]},
        )

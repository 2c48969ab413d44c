"""Rules over training and validation losses."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator_runtime.rules.documented.base import (
    BASE_TRIAL,
    COLLECTION_NAMES,
    TENSOR_REGEX,
    DocumentedRule,
)
from orchestrator_runtime.rules.documented.tensors import OWN_SCALARS, aliases
from orchestrator_runtime.rules.parameters import Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import StepRecord

LOSS = "loss"
_VALIDATION = re.compile(r"(^|[^a-z])(val|valid|validation|eval|evaluation|test)([^a-z]|$)", re.I)


def is_validation_loss(name: str) -> bool:
    """Return whether a reported metric is a loss on data that is not trained on."""
    return LOSS in name.lower() and _VALIDATION.search(name) is not None


class LossNotDecreasing(DocumentedRule):
    """Fires when a loss has not decreased enough since ``num_steps`` ago, or has risen.

    It is looked at each time ``num_steps`` have passed. A decrease of less than ``diff_percent``
    fires, and so does an increase by more than ``increase_threshold_percent``; a smaller increase
    is allowed.
    """

    name = "LossNotDecreasing"
    parameters = (
        BASE_TRIAL,
        COLLECTION_NAMES,
        TENSOR_REGEX,
        Parameter("use_losses_collection", True, "bool"),
        Parameter("num_steps", 10, "int", 1),
        Parameter("diff_percent", 0.1, low=0.0, high=100.0),
        Parameter("increase_threshold_percent", 5.0, low=0.0),
        Parameter("mode", "GLOBAL", "choice", choices=("GLOBAL", "TRAIN", "EVAL")),
    )
    cause = "The training makes no progress: this time is spent in vain."
    remedies = (
        "Try another learning rate, up and down by a factor of 3 to 10.",
        "If the loss has converged, stop here; if not, check data, labels and initialisation.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._patterns = [re.compile(pattern) for pattern in self.words("tensor_regex")]
        self._saved: dict[str, list[tuple[int, float]]] = {}
        self._checked: dict[str, int] = {}

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was compared."""
        return None if self._saved else "LossNotDecreasing: no such loss was seen"

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at the losses of one step that are saved."""
        saved = not record.skipped and record.step % self.every == 0
        for name, loss in self._losses(record):
            if saved or is_validation_loss(name):
                finding = self._compare(record.step, name, loss)
                if finding is not None:
                    return finding
        return None

    def _losses(self, record: StepRecord) -> Iterator[tuple[str, float]]:
        for name, value in record.scalars.items():
            if is_validation_loss(name) != (self.values["mode"] == "EVAL"):
                continue
            if self._is_wanted(name):
                yield name, value

    def _is_wanted(self, name: str) -> bool:
        if self.values["use_losses_collection"] or not self._patterns:
            return name == LOSS or is_validation_loss(name)
        return name not in OWN_SCALARS and any(
            pattern.search(alias)
            for pattern in self._patterns
            for alias in aliases("losses", name)
        )

    def _compare(self, step: int, name: str, loss: float) -> Finding | None:
        saved = self._saved.setdefault(name, [])
        saved.append((step, loss))
        distance = self.whole("num_steps")
        if step - self._checked.setdefault(name, step) < distance:
            return None
        self._checked[name] = step
        while len(saved) > 1 and saved[1][0] <= step - distance:
            saved.pop(0)
        return self._judge(name, saved[0], (step, loss))

    def _judge(self, name: str, then: tuple[int, float], now: tuple[int, float]) -> Finding | None:
        decrease = _percent(then[1], now[1])
        if decrease < 0:
            wrong = -decrease > self.number("increase_threshold_percent")
        else:
            wrong = decrease < self.number("diff_percent")
        if not wrong:
            return None
        return self.found(
            now[0],
            f"{name} went from {then[1]:.6g} at step {then[0]} to {now[1]:.6g}: "
            f"{-decrease:+.3g} %",
            values={"loss": now[1], "before": then[1], "decrease_percent": decrease},
        )


def _percent(before: float, now: float) -> float:
    """Return by how much a loss has decreased, in percent of its size."""
    if before == now:
        return 0.0
    change = before - now
    if before == 0 or not math.isfinite(before):
        return change * math.inf
    return 100 * change / abs(before)


class Overfit(DocumentedRule):
    """Fires when the validation loss exceeds the training loss by too much, ``patience`` times.

    Each validation loss that is reported is set beside the mean of the training losses saved
    since the one before.
    """

    name = "Overfit"
    parameters = (
        BASE_TRIAL,
        TENSOR_REGEX,
        Parameter("start_step", 0, "int", 0),
        Parameter("patience", 1, "int", 1),
        Parameter("ratio_threshold", 0.1),
    )
    cause = "The model learns its training data by heart; on others it gets no better."
    remedies = (
        "Regularise: weight decay, dropout, augmentation, or a smaller model.",
        "Stop earlier, or train on more data.",
    )
    _nothing: ClassVar[str] = "Overfit: no validation loss was reported, e.g. as validation:loss"

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._patterns = [re.compile(pattern) for pattern in self.words("tensor_regex")]
        self._training: list[float] = []
        self._mean: float | None = None
        self._in_a_row = 0
        self._compared = False

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was compared."""
        return None if self._compared else self._nothing

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at the losses of one step."""
        if record.step < self.whole("start_step"):
            return None
        loss = record.scalars.get(LOSS)
        if loss is not None and not record.skipped and record.step % self.every == 0:
            self._training.append(loss)
        validation = [
            value
            for name, value in record.scalars.items()
            if is_validation_loss(name) and self._is_wanted(name)
        ]
        if not validation:
            return None
        if self._training:
            self._mean = sum(self._training) / len(self._training)
            self._training.clear()
        return self._compare(record.step, sum(validation) / len(validation))

    def _is_wanted(self, name: str) -> bool:
        return not self._patterns or any(pattern.search(name) for pattern in self._patterns)

    def _compare(self, step: int, validation: float) -> Finding | None:
        training = self._mean
        if training is None or training == 0:
            return None
        self._compared = True
        ratio = (validation - training) / training
        self._in_a_row = self._in_a_row + 1 if ratio > self.number("ratio_threshold") else 0
        if self._in_a_row < self.whole("patience"):
            return None
        return self.found(
            step,
            f"validation loss {validation:.6g} is {100 * ratio:.4g} % above training loss "
            f"{training:.6g}",
            values={"validation_loss": validation, "training_loss": training, "ratio": ratio},
        )


class Overtraining(DocumentedRule):
    """Fires when a loss has not improved by ``delta`` for as many values as its patience."""

    name = "Overtraining"
    parameters = (
        BASE_TRIAL,
        Parameter("patience_train", 5, "int", 1),
        Parameter("patience_validation", 10, "int", 1),
        Parameter("delta", 0.01, low=0.0),
    )
    cause = "The model is at its optimum: training on can only fit it to its training data."
    remedies = (
        "Stop here and keep the checkpoint with the best validation loss.",
        "Lower the learning rate if the loss should be lower than it is.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._best = {"train": math.inf, "validation": math.inf}
        self._since = {"train": 0, "validation": 0}

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at the losses of one step."""
        loss = record.scalars.get(LOSS)
        if loss is not None and not record.skipped and record.step % self.every == 0:
            finding = self._take(record.step, "train", loss)
            if finding is not None:
                return finding
        for name, value in record.scalars.items():
            if is_validation_loss(name):
                return self._take(record.step, "validation", value)
        return None

    def _take(self, step: int, kind: str, loss: float) -> Finding | None:
        if loss < self._best[kind] - self.number("delta"):
            self._best[kind], self._since[kind] = loss, 0
            return None
        self._since[kind] += 1
        if self._since[kind] < self.whole(f"patience_{kind}"):
            return None
        return self.found(
            step,
            f"the {kind} loss has not improved on {self._best[kind]:.6g} by "
            f"{self.number('delta'):g} in {self._since[kind]} values; it is {loss:.6g}",
            values={"loss": loss, "best": self._best[kind], "values": self._since[kind]},
        )

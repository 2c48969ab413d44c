"""Rules that compare training with validation: overfitting, and training on for nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.rule import Rule

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import StepRecord

NAMES = ("val_loss", "validation:loss", "valid_loss", "eval_loss", "validation_loss", "eval:loss")
REMEDIES = (
    "stop early and keep the best checkpoint (`early_stopping`)",
    "more data or augmentation, dropout, weight decay, or a smaller model",
)


def validation_loss(record: StepRecord, name: str | None) -> float | None:
    """Return the validation loss that came with a step, if one did."""
    for candidate in (name,) if name else NAMES:
        value = record.scalars.get(candidate)
        if value is not None and math.isfinite(value):
            return value
    return None


class Overfit(CourseRule):
    """Fires when validation loss rises while training loss falls."""

    name = "overfit"
    parameters = (
        Parameter(
            "metric", None, "str", help="name of the validation loss; usual names by default"
        ),
        Parameter("patience", 3, "int", 1, help="validations in a row"),
        Parameter("rise", 0.1, "float", 0, help="share by which validation is above its best"),
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._best = math.inf
        self._train_at_best = math.nan
        self._held = 0

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at a validation, if there is one."""
        name = self.values["metric"]
        value = validation_loss(record, None if name is None else str(name))
        if value is None:
            return None
        train = self._run.loss.slow
        if value < self._best:
            self._best, self._train_at_best, self._held = value, train, 0
            return None
        is_over = value > self._best + self.number("rise") * abs(self._best)
        self._held = self._held + 1 if is_over and train < self._train_at_best else 0
        if self._held < self.whole("patience"):
            return None
        return Finding(
            self.name,
            record.step,
            f"validation loss is {value:.4g}, its best was {self._best:.4g}, while training loss "
            f"fell to {train:.4g}",
            "the model learns the training examples by heart",
            REMEDIES,
            values={"validation": value, "best": self._best, "training": train},
        )


class Overtraining(Rule):
    """Fires when validation has not improved for many validations."""

    name = "overtraining"
    parameters = (
        Parameter(
            "metric", None, "str", help="name of the validation loss; usual names by default"
        ),
        Parameter("patience", 10, "int", 1, help="validations without improvement"),
        Parameter("min_delta", 0.001, "float", 0, help="share of the best that is an improvement"),
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._best = math.inf
        self._since = 0

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at a validation, if there is one."""
        name = self.values["metric"]
        value = validation_loss(record, None if name is None else str(name))
        if value is None:
            return None
        if value < self._best - self.number("min_delta") * abs(self._best):
            self._best, self._since = value, 0
            return None
        self._since += 1
        if self._since < self.whole("patience"):
            return None
        return Finding(
            self.name,
            record.step,
            f"validation loss has not improved for {self._since} validations (best {self._best:.4g})",
            "further training costs time and gains nothing",
            REMEDIES,
            values={"validation": value, "best": self._best},
        )

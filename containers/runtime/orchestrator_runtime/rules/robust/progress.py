"""Rules about the loss alone: they warn that a run does not get better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.rule import Need, Rule

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import StepRecord


class LossNotDecreasing(CourseRule):
    """Fires when the averaged loss has not reached a new low for a number of steps."""

    name = "loss_not_decreasing"
    parameters = (
        Parameter("patience", 100, "int", 1, help="steps without a new low"),
        Parameter("gain", 0.9, "float", 0, 1, help="share of the loss gained that is enough"),
        Parameter(
            "min_delta", 0.005, "float", 0, 1, help="share of the start that makes a new low"
        ),
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._low = math.inf
        self._since = 0

    def judge(self, record: StepRecord) -> Finding | None:
        """Count the steps since the last low."""
        run = self._run
        loss = run.loss
        if record.skipped or "loss" not in record.scalars or not loss.steps:
            return None
        if loss.slow < self._low - self.number("min_delta") * loss.scale:
            self._low, self._since = loss.slow, 0
            return None
        self._since += 1
        if self._since < self.whole("patience") or loss.best_gain > self.number("gain"):
            return None
        return Finding(
            self.name,
            record.step,
            f"the loss has not fallen for {self._since} steps: it is {loss.slow:.4g}, and was "
            f"{self._low:.4g} at best",
            "the model has learnt what it can, or cannot learn at all with these settings",
            (
                "compare with the loss of a constant guess: no better means data or labels",
                "change the learning rate by 3 in either direction",
                "stop here if validation does not improve either",
            ),
            values={"loss": loss.slow, "best": self._low, "steps": self._since},
        )


class UpdateRatio(CourseRule):
    """Fires when steps are too large or too small for the weights that they change."""

    name = "update_ratio"
    parameters = (
        Parameter(
            "large", 0.3, "float", 0, help="median update ratio above which steps are large"
        ),
        Parameter(
            "small", 1e-6, "float", 0, help="median update ratio below which they are small"
        ),
        Parameter("samples", 3, "int", 1, help="samples in a row"),
    )
    needs = (Need("weights/update_ratio", 10),)

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._held = 0

    def judge(self, record: StepRecord) -> Finding | None:
        """Compare the median update ratio with both limits."""
        block = record.blocks.get("weights/update_ratio")
        ratios = sorted(value for _, value in block.present()) if block is not None else []
        if not ratios or self._run.steps == 1:
            return None
        median = ratios[len(ratios) // 2]
        is_large, is_small = median > self.number("large"), median < self.number("small")
        self._held = self._held + 1 if is_large or is_small else 0
        if self._held < self.whole("samples"):
            return None
        word = "large" if is_large else "small"
        remedies = (
            ("lower the learning rate", "give the layers that stand out a rate of their own")
            if is_large
            else ("see whether gradients vanish first", "if they do not, raise the learning rate")
        )
        return Finding(
            self.name,
            record.step,
            f"a step changes most weights by {median:.2g} of their size, which is {word} "
            "(about 0.001 is usual)",
            f"learning rate times gradient is too {word} for these weights",
            remedies,
            values={"median": median, "learning_rate": record.scalars.get("learning_rate", 0.0)},
        )


class StalledTraining(Rule):
    """Fires when no step was made for a long time."""

    name = "stalled_training"
    parameters = (Parameter("seconds", 1800.0, "float", 1, help="longest time without a step"),)

    def waited(self, last: StepRecord | None, now: float) -> Finding | None:
        """Compare the time since the last step."""
        if last is None or now - last.time < self.number("seconds"):
            return None
        return Finding(
            self.name,
            last.step,
            f"no step for {now - last.time:.0f} s",
            "the program waits: for data, for another process, or for a lock; or it evaluates",
            (
                "look at where it is: `orchestrator shell JOB`, then py-spy or faulthandler",
                "check data loaders and the other hosts of a distributed run",
            ),
            values={"seconds": now - last.time},
        )

"""When one run is ended early because it does not get better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from orchestrator.spec.base import Spec

MetricName = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class EarlyStopping(Spec):
    """Ends a run whose validation metric stops improving; its best checkpoint becomes the model."""

    metric: MetricName
    """Name of a metric that the job reports, or that a metric definition finds in its log."""
    mode: Literal["minimize", "maximize"] = "minimize"
    """Which way is better."""
    patience: int = Field(default=5, ge=1, le=1_000_000)
    """Values in a row without improvement after which the run ends."""
    min_delta: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """By how much a value must be better than the best to count."""
    start: int = Field(default=0, ge=0)
    """Values at the beginning that are not judged (they may set the best)."""
    train_metric: MetricName | None = None
    """The same metric on training data; with it, a run also ends when it overfits: the metric is
    worse than its best ``patience`` times in a row while this one is better than at that best."""
    keep_best: bool = True
    """Make the best checkpoint the model artifact of a run that was ended early."""

    @model_validator(mode="after")
    def _two_metrics(self) -> Self:
        if self.train_metric == self.metric:
            raise ValueError(
                f"train_metric must be another metric than metric, got {self.metric!r} for both; "
                "name the one on training data, or leave it out"
            )
        return self


@dataclass(frozen=True)
class BestCheckpoint:
    """What is kept of a run when it has ended.

    Attributes:
        why: What people are told of it.
        names: The files and directories among its checkpoints that become its model artifact;
            empty = what the program saved itself is that.
    """

    why: str
    names: tuple[str, ...] = ()

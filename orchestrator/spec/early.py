"""When one run is ended early because it does not get better."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from orchestrator.spec.base import Spec


class EarlyStopping(Spec):
    """Ends a run whose validation metric stops improving; its best checkpoint becomes the model."""

    metric: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    """Name of a metric that the job reports, or that a metric definition finds in its log."""
    mode: Literal["minimize", "maximize"] = "minimize"
    """Which way is better."""
    patience: int = Field(default=5, ge=1, le=1_000_000)
    """Values in a row without improvement after which the run ends."""
    min_delta: float = Field(default=0.0, ge=0)
    """By how much a value must be better than the best to count."""
    start: int = Field(default=0, ge=0)
    """Values at the beginning that are not judged (they may set the best)."""
    train_metric: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    """The same metric on training data; with it, a run also ends when it overfits: the metric is
    worse than its best ``patience`` times in a row while this one is better than at that best."""
    keep_best: bool = True
    """Make the best checkpoint the model artifact of a run that was ended early."""

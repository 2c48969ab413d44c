"""What of a run's tensors is recorded, and at which steps."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from orchestrator_runtime.trace import kinds
from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from orchestrator.spec.base import Spec

KINDS = (*kinds.KINDS, kinds.BIASES_COLLECTION)
"""Tensors that a program has without saying so."""
FED = kinds.WHOLE_ONLY
"""What a program feeds its model with, and what that makes of it: whole tensors only."""
ARRAY, HISTOGRAM = kinds.ARRAY, kinds.HISTOGRAM
_STATISTIC = re.compile(r"[a-z0-9_]+(:[^:/]+)*")
_MOST_STEPS = 1 << 31

Step = Annotated[int, Field(ge=0, lt=_MOST_STEPS)]


def _legal_pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"names of tensors must be Python regular expressions, got {text!r}: {error}; "
            "correct it"
        ) from error
    return text


def _statistic(text: str) -> str:
    if not _STATISTIC.fullmatch(text):
        raise ValueError(
            f"statistics must be such as l2, abs_max, array or histogram, got {text!r}; correct it"
        )
    return text


Pattern = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_legal_pattern)]
"""A regular expression, searched in ``fc.weight``, ``weights/fc.weight`` and SageMaker's names."""
Statistic = Annotated[str, StringConstraints(max_length=256), AfterValidator(_statistic)]


class SaveInterval(Spec):
    """Steps at which something is recorded (SageMaker ``SaveConfig``)."""

    every: Step = 0
    """Each so many steps, counted from step 0; 0 = only ``steps``."""
    start: Step = 0
    """Not before this step."""
    end: Step | None = None
    """Not from this step on; None = to the end."""
    steps: tuple[Step, ...] = Field(default=(), max_length=1000)
    """These steps as well."""

    @model_validator(mode="after")
    def _has_a_course(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(
                f"end must be above start, got {self.end} and {self.start}; no step is between them"
            )
        return self


class WholeTensors(SaveInterval):
    """Whole tensors of one kind, or their histograms: which, and when."""

    patterns: tuple[Pattern, ...] = Field(default=(), max_length=100)
    """Regular expressions of their names; none = all."""


def _form(given: Any) -> str:
    """Return which of two forms somebody meant, so that only its rules are said to be broken."""
    return "steps" if isinstance(given, int | float | str) else "interval"


EveryOr = Annotated[
    Annotated[Step, Tag("steps")] | Annotated[SaveInterval, Tag("interval")], Discriminator(_form)
]
"""A number of steps, or an interval."""
WholeOr = Annotated[
    Annotated[Step, Tag("steps")] | Annotated[WholeTensors, Tag("interval")], Discriminator(_form)
]
"""A number of steps for all tensors, or which tensors, and when."""


class TensorCollection(SaveInterval):
    """Tensors under one name, and what is recorded of them (SageMaker ``CollectionConfiguration``)."""

    every: Step = 500
    """Each so many steps, counted from step 0; 0 = only ``steps``."""
    include: tuple[Pattern, ...] = Field(default=(), max_length=100)
    """Regular expressions of their names; none = all of the kind that the collection is called
    after, such as ``gradients``."""
    statistics: tuple[Statistic, ...] = Field(default=(ARRAY,), min_length=1, max_length=100)
    """``array`` is the whole tensor, ``histogram`` its histogram; else ``l2``, ``mean``, ….
    Statistics are measured of all tensors of a kind."""

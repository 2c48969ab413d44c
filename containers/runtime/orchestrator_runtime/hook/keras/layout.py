"""What the numbers of a row mean, and how they become a step; needs no framework."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from orchestrator_runtime.trace.record import GRADIENTS_L2, UPDATE_RATIO, Block, StepRecord, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

CHANGE, BEFORE = "_change", "_before"  # what the update ratio is made of
HEAD = 2
"""Numbers before the scalars: the step and the number of the layout."""
STEP_MODULUS = 1 << 20
"""A row holds its step modulo this, which single precision holds exactly."""
EPSILON = 1e-12


class Section(NamedTuple):
    """The numbers of one statistic.

    Attributes:
        series: Its name; what an update ratio is made of has names of its own.
        gate: The series on whose being due it depends.
        there: Which of the table's tensors have a number; None for all.
    """

    series: str
    table: Table
    gate: str
    there: tuple[bool, ...] | None = None

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return len(self.table.tensors) if self.there is None else sum(self.there)


class Layout(NamedTuple):
    """The rows that one place of a program writes.

    Attributes:
        whole: Numbers of the stores in which its whole tensors are.
    """

    scalars: tuple[str, ...]
    sections: tuple[Section, ...] = ()
    skipped: bool = False
    whole: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return HEAD + len(self.scalars) + sum(section.numbers for section in self.sections)


def step_mark(step: int) -> float:
    """Return what a row of this step begins with."""
    return float(step % STEP_MODULUS)


def record_of(
    layout: Layout, row: Sequence[float], record: StepRecord, due: Collection[str]
) -> StepRecord:
    """Fill a step from its row; sections of series that are not ``due`` are without a meaning."""
    record.skipped = layout.skipped
    at = HEAD + len(layout.scalars)
    record.scalars.update(zip(layout.scalars, row[HEAD:at]))
    for section in layout.sections:
        values = row[at : at + section.numbers]
        at += section.numbers
        if section.gate in due:
            record.blocks[section.series] = Block(section.table, _spread(section, values))
    _complete(record)
    return record


def _spread(section: Section, values: Sequence[float]) -> Sequence[float | None]:
    if section.there is None:
        return values
    rest = iter(values)
    return [next(rest) if has else None for has in section.there]


def _complete(record: StepRecord) -> None:
    """Make what follows from the numbers: total norm, clipping, ratios."""
    scalars, blocks = record.scalars, record.blocks
    gradients = blocks.get(GRADIENTS_L2)
    if gradients is not None:
        norm = math.hypot(*[value for value in gradients.values if value is not None])
        scalars["norm"] = norm
        before = scalars.get("norm_before_clip")
        if before:
            scalars["clip"] = min(1.0, norm / before) if math.isfinite(before) else 0.0
    change, weights = blocks.pop(CHANGE, None), blocks.pop(BEFORE, None)
    if change is not None and weights is not None:
        ratios = [
            None if moved is None or weight is None else moved / (weight + EPSILON)
            for moved, weight in zip(change.values, weights.values)
        ]
        blocks[UPDATE_RATIO] = Block(change.table, ratios)

"""The numbers of one step: gathered on the device, brought over in one copy, later made a record."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from orchestrator_runtime.trace.record import UPDATE_RATIO, Block, StepRecord, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from orchestrator_runtime.hook.pytorch.arrays import Copy

GRADIENTS_L2 = "gradients/l2"
CHANGE, BEFORE = "_change", "_before"  # what the update ratio is made of
FOUND_INF, UNSCALE, LOSS = "_found_inf", "_unscale", "loss"
POWERS = {
    **dict.fromkeys(("l2", "abs_max", "abs_mean", "mean", "std", "min", "max", "spread"), 1),
    "variance": 2,
}
"""By which power of a factor of all elements a statistic is multiplied; 0 for any other."""


class _Part(NamedTuple):
    name: str
    table: Table | None  # None for scalars
    there: Sequence[bool] | None  # which of the table's tensors have a value; None for all
    numbers: int


class _Copy(NamedTuple):
    values: Tensor
    done: torch.cuda.Event | None


class Sample:
    """One step's numbers on their way.

    Attributes:
        arrays: Whole tensors on their way.
    """

    def __init__(self, record: StepRecord) -> None:
        self.record = record
        self.arrays: list[Copy] = []
        self._parts: list[_Part] = []
        self._numbers: list[Tensor] = []
        self._scalars: list[Tensor] = []
        self._copies: list[tuple[list[int], _Copy]] = []

    def block(
        self,
        name: str,
        table: Table,
        numbers: Sequence[Tensor],
        there: Sequence[bool] | None = None,
    ) -> None:
        """Add a statistic: a 0-d tensor for each tensor of the table that has one."""
        self._parts.append(_Part(name, table, there, len(numbers)))
        self._numbers.extend(numbers)

    def scalar(self, name: str, number: Tensor) -> None:
        """Add a number that is on a device."""
        number = number.detach().reshape(())
        self._parts.append(_Part(name, None, None, 1))
        self._numbers.append(number)
        self._scalars.append(number)

    def send(self, *, alike: bool) -> None:
        """Start the copy: one for each device, which is one.

        Args:
            alike: Whether all tensors that were measured are on one device, in one precision.
        """
        numbers = self._numbers
        if not numbers:
            return
        device = numbers[0].device
        if alike and all(_are_alike(number, numbers[-1]) for number in self._scalars):
            self._copies.append((list(range(len(numbers))), _copy_alike(numbers)))
            return
        if all(number.device == device for number in numbers):
            self._copies.append((list(range(len(numbers))), _copy(numbers)))
            return
        by_device: dict[torch.device, list[int]] = {}
        for index, number in enumerate(numbers):
            by_device.setdefault(number.device, []).append(index)
        for indices in by_device.values():
            self._copies.append((indices, _copy([numbers[index] for index in indices])))

    def arrived(self) -> bool:
        """Return whether reading would not have to wait."""
        return all(_is_done(copy) for _, copy in self._copies) and all(
            array.arrived() for array in self.arrays
        )

    def is_here(self) -> bool:
        """Return whether nothing of it was on a device: no question to one is needed."""
        return all(copy.done is None for _, copy in self._copies) and all(
            array.is_here() for array in self.arrays
        )

    def finish(self) -> StepRecord:
        """Wait for the copy, and return the step."""
        if len(self._copies) == 1:
            values = _read(self._copies[0][1])
        else:
            values = [0.0] * len(self._numbers)
            for indices, copy in self._copies:
                for index, value in zip(indices, _read(copy)):
                    values[index] = value
        self._numbers = []
        return self._fill(values)

    def _fill(self, values: list[float]) -> StepRecord:
        record, at = self.record, 0
        for name, table, there, numbers in self._parts:
            mine = values[at : at + numbers]
            at += numbers
            if table is None:
                record.scalars[name] = mine[0]
            elif there is None:
                record.blocks[name] = Block(table, mine)
            else:
                rest = iter(mine)
                record.blocks[name] = Block(table, [next(rest) if has else None for has in there])
        _complete(record)
        return record


def _complete(record: StepRecord) -> None:
    """Make what follows from the numbers: total norm, clipping, ratios, scales."""
    scalars, blocks = record.scalars, record.blocks
    if FOUND_INF in scalars:
        record.skipped = scalars.pop(FOUND_INF) > 0
    unscale = scalars.pop(UNSCALE, None)
    if unscale:
        _unscale(blocks, unscale)
    gradients = blocks.get(GRADIENTS_L2)
    if gradients is not None:
        values = gradients.values
        try:
            norm = math.hypot(*values)  # type: ignore[arg-type]  # gaps are the exception below
        except TypeError:
            norm = math.hypot(*[value for value in values if value is not None])
        scalars["norm"] = norm
        before = scalars.get("norm_before_clip")
        if before:
            scalars["clip"] = min(1.0, norm / before) if math.isfinite(before) else 0.0
    change, weights = blocks.pop(CHANGE, None), blocks.pop(BEFORE, None)
    if change is not None and weights is not None:
        ratios = [
            moved / weight if moved is not None and weight else None  # from zero: no ratio
            for moved, weight in zip(change.values, weights.values)
        ]
        blocks[UPDATE_RATIO] = Block(change.table, ratios)
    if record.skipped:
        blocks.clear()
        scalars.pop("norm", None)


def _unscale(blocks: dict[str, Block], scale: float) -> None:
    """Undo what a gradient scaler leaves to a fused optimizer."""
    for name, block in list(blocks.items()):
        collection, _, statistic = name.partition("/")
        power = POWERS.get(statistic, 0)
        if collection == "gradients" and power:
            factor = scale**power
            values = [None if value is None else value / factor for value in block.values]
            blocks[name] = Block(block.table, values)


def _copy(numbers: Sequence[Tensor]) -> _Copy:
    kinds = {number.dtype for number in numbers}
    if len(kinds) > 1:
        widest = torch.float64 if torch.float64 in kinds else torch.float32
        numbers = [number.to(widest) for number in numbers]
    return _copy_alike(numbers)


def _copy_alike(numbers: Sequence[Tensor]) -> _Copy:
    vector = torch.stack(list(numbers))
    if vector.device.type != "cuda":
        return _Copy(vector, None)
    kept = torch.empty(vector.shape, dtype=vector.dtype, device="cpu", pin_memory=True)
    kept.copy_(vector, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()
    return _Copy(kept, done)


def _are_alike(one: Tensor, other: Tensor) -> bool:
    return one.dtype is other.dtype and one.device == other.device


def _is_done(copy: _Copy) -> bool:
    return copy.done is None or bool(copy.done.query())  # type: ignore[no-untyped-call]


def _read(copy: _Copy) -> list[float]:
    if copy.done is not None:
        copy.done.synchronize()
    values: list[float] = copy.values.tolist()
    return values

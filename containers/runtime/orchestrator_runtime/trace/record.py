"""What one optimizer step of a training run looked like: the values that rules judge.

Statistics bear the names of SageMaker Debugger's ReductionConfig where it has one (``l2``,
``abs_max``, ``abs_mean``, ``mean``, ``std``, ``variance``, ``min``, ``max``); further ones are

==================  =====================================================================
``zeros``           share of elements that are exactly zero, 0 to 1
``non_finite``      number of elements that are NaN or infinite
``idle_units``      share of output units (rows) without any non-zero element, 0 to 1
``update_ratio``    L2 of what a step changed over L2 of the weights before it
``saturated``       share of units at an end of their range for nearly all inputs, 0 to 1
``nan``             number of elements that are NaN
``spread``          95th percentile minus 5th percentile
==================  =====================================================================

Statistics with arguments, behind colons; arguments are written as Python's ``repr`` of a float:

``inactive:P``
    Share of units (0 to 1) that are above zero in less than P percent of the values they gave in
    this step. A unit is a channel of four- and five-dimensional outputs (the axis of channels as
    the framework has it) and else an index of the last axis.
``outside:LOW:HIGH:P``
    Share of units (0 to 1) with less than P percent of this step's values from LOW to HIGH.
``moved:EPSILON``
    L2 of (now - then) over (L2 of then + EPSILON), where then is when this series was last
    recorded; none the first time.
``unchanged:RTOL:ATOL`` and ``unchanged:RTOL:ATOL:nan``
    1 if for all elements ``|now - then| <= ATOL + RTOL * |then|``, else 0, with then as above and
    none the first time; infinities are equal if they are the same, NaN never or (``:nan``) always.

A series is named ``collection/statistic``, e.g. ``gradients/l2``. The statistic ``array`` stands
for the whole tensor: it is recorded as an `Array`, not in a block.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GRADIENTS_L2 = "gradients/l2"
WEIGHTS_L2 = "weights/l2"
UPDATE_RATIO = "weights/update_ratio"
STRAYS_L2 = "strays/l2"
"""Of the gradients of parameters that no optimizer has, though they get some."""

Values = "Sequence[Optional[float]]"


class Tensor(NamedTuple):
    """A tensor of the model.

    Attributes:
        name: As ``named_parameters`` gives it, without what wrappers (DDP, compile) put before.
        shape: Of the whole tensor, also where it is sharded.
        role: ``matrix`` (also convolutions), ``vector`` (biases), ``scale`` (of normalisations),
            ``embedding``, or the kind of an activation, e.g. ``relu``.
        trainable: Whether it was meant to have a gradient when it was first seen.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    trainable: bool = True

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Table(NamedTuple):
    """The tensors that the values of a block belong to, in the order of the model."""

    collection: str
    optimizer: int
    tensors: tuple[Tensor, ...]

    @property
    def names(self) -> list[str]:
        """The names of the tensors."""
        return [tensor.name for tensor in self.tensors]


class Block(NamedTuple):
    """One statistic of one step, a value for each tensor of the table; None where there is none."""

    table: Table
    values: Sequence[float | None]

    def present(self) -> Iterable[tuple[Tensor, float]]:
        """Return tensors and values, without those that have none."""
        return (
            (tensor, value)
            for tensor, value in zip(self.table.tensors, self.values)
            if value is not None
        )


class StepRecord:
    """One executed (or skipped) step of one optimizer.

    Attributes:
        step: Of this optimizer in this process, counted from 0.
        optimizer: Index of the optimizer, in the order of their first steps.
        time: Epoch seconds at the end of the step.
        skipped: Whether a gradient scaler left the step out; it has no blocks then.
        scalars: ``loss`` (the sum of what ``backward`` was called on since the last step, without
            a scaler's scale), ``learning_rate``, ``norm`` (total L2 of the executed gradients),
            ``norm_before_clip``, ``clip`` (by what the gradients were multiplied), ``backwards``
            (micro batches), and what the program reports; absent where unknown.
        blocks: By the name of the series.
    """

    __slots__ = ("blocks", "optimizer", "scalars", "skipped", "step", "time")

    def __init__(
        self,
        step: int,
        time: float,
        optimizer: int = 0,
        *,
        skipped: bool = False,
        scalars: dict[str, float] | None = None,
        blocks: dict[str, Block] | None = None,
    ) -> None:
        self.step = step
        self.time = time
        self.optimizer = optimizer
        self.skipped = skipped
        self.scalars: dict[str, float] = {} if scalars is None else scalars
        self.blocks: dict[str, Block] = {} if blocks is None else blocks

    def __repr__(self) -> str:
        return (
            f"StepRecord(step={self.step}, optimizer={self.optimizer}, scalars={self.scalars}, "
            f"blocks={sorted(self.blocks)})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StepRecord) and self._facts() == other._facts()

    __hash__ = None  # type: ignore[assignment]

    def _facts(self) -> tuple[Any, ...]:
        blocks = {name: (block.table, list(block.values)) for name, block in self.blocks.items()}
        return self.step, self.time, self.optimizer, self.skipped, self.scalars, blocks


HISTOGRAM_SUFFIX = ".histogram"
"""What follows the name of a collection in that of its histograms."""


class Array(NamedTuple):
    """A whole tensor as it was at one step, in C order.

    Attributes:
        dtype: A NumPy name: ``float32``, ``float64``, ``float16``, ``int64``, ``int32``,
            ``uint8``, ``bool``. (bfloat16 is recorded as float32.)
    """

    name: str
    collection: str
    step: int
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Gpu(NamedTuple):
    """One GPU at one moment.

    Attributes:
        utilization: Share of the last moments in which it computed anything, 0 to 100 percent.
        memory: Share of its memory that is taken, 0 to 100 percent.
    """

    utilization: float
    memory: float


class SystemSample(NamedTuple):
    """What the host and this process were doing; None where the host does not tell.

    Attributes:
        time: Epoch seconds.
        cpu: Of all cores since the sample before, 0 to 100 percent busy.
        io_wait: Of all cores since the sample before, 0 to 100 percent waiting for disks.
        gpus: Those that this process may use, in the order of the driver.
        process_seconds: CPU seconds that this process has used.
        resident_bytes: Main memory of this process.
        cores: Number of the host's cores.
        children: Number of this process's child processes, e.g. of a data loader.
    """

    time: float
    cpu: float | None = None
    io_wait: float | None = None
    gpus: tuple[Gpu, ...] = ()
    process_seconds: float | None = None
    resident_bytes: int | None = None
    cores: int | None = None
    children: int | None = None

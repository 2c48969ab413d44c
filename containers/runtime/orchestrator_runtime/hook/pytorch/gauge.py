"""From the name of a series to what is measured of parameters and gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator_runtime.hook.pytorch import measure, shards
from orchestrator_runtime.hook.pytorch.memory import Memory, comparison_of
from orchestrator_runtime.hook.pytorch.units import measure_of
from orchestrator_runtime.hook.wishes import is_whole
from orchestrator_runtime.trace.kinds import ARRAY, HISTOGRAM, WHOLE_ONLY
from orchestrator_runtime.trace.record import STRAYS_L2, UPDATE_RATIO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from orchestrator_runtime.hook.pytorch.arrays import Arrays
    from orchestrator_runtime.hook.pytorch.sample import Sample
    from orchestrator_runtime.trace.record import Table

PARAMETERS = ("weights", "gradients")
ACTIVATIONS = ("outputs", "inputs")
CHANGES = ("moved:EPSILON", "unchanged:RTOL:ATOL[:nan]")


class Gauge:
    """Measures series of one optimizer's tensors, each in one pass over all of them."""

    def __init__(self, arrays: Arrays, tell: Callable[[str], None], *, records: bool) -> None:
        self.arrays = arrays
        self._memory = Memory(tell)
        self._tell = tell
        self._records = records
        self._dropped: set[str] = set()

    def put(
        self,
        sample: Sample,
        series: str,
        table: Table,
        tensors: Sequence[Tensor],
        there: Sequence[bool] | None = None,
        scale: Tensor | None = None,
    ) -> None:
        """Measure a series, if it can be measured of such tensors; one that fails is dropped.

        Args:
            sample: Gets the numbers.
            series: Its name.
            table: What the tensors are.
            tensors: Those that are there.
            there: Which of the table's tensors that are; None for all.
            scale: What a gradient scaler has multiplied them by, where that is still to be undone.
        """
        if series in self._dropped:
            return
        try:
            self._put(sample, series, table, tensors, there, scale)
        except Exception as error:  # noqa: BLE001 -- the other series are still wanted
            self._dropped.add(series)
            self._tell(f"{series} is not measured: {type(error).__name__}: {error}")

    def _put(
        self,
        sample: Sample,
        series: str,
        table: Table,
        tensors: Sequence[Tensor],
        there: Sequence[bool] | None,
        scale: Tensor | None,
    ) -> None:
        name = series.partition("/")[2]
        if is_whole(series):
            if self._records:
                self._whole(sample, series, _names(table, there), _unscaled(tensors, scale))
        elif comparison_of(name) is not None:
            self._changes(sample, series, table, _unscaled(tensors, scale), there)
        elif name in measure.STATISTICS:
            numbers = shards.measured(name, measure.STATISTICS[name], tensors)
            if numbers is not None:
                sample.block(series, table, numbers, there)

    def _whole(
        self, sample: Sample, series: str, names: Sequence[str], tensors: Sequence[Tensor]
    ) -> None:
        copies = [self.arrays.chosen(series, *each) for each in zip(names, tensors)]
        sample.arrays += [copy for copy in copies if copy is not None]

    def _changes(
        self,
        sample: Sample,
        series: str,
        table: Table,
        tensors: Sequence[Tensor],
        there: Sequence[bool] | None,
    ) -> None:
        numbers = self._memory.compared(series, _names(table, there), tensors)
        known = [number for number in numbers if number is not None]
        if not known:
            return
        compared = iter(number is not None for number in numbers)
        flags = there if there is not None else [True] * len(table.tensors)
        sample.block(series, table, known, [has and next(compared) for has in flags])


def _names(table: Table, there: Sequence[bool] | None) -> list[str]:
    if there is None:
        return table.names
    return [name for name, has in zip(table.names, there) if has]


def _unscaled(tensors: Sequence[Tensor], scale: Tensor | None) -> Sequence[Tensor]:
    if scale is None:
        return tensors
    return [tensor / scale.to(tensor.device, non_blocking=True) for tensor in tensors]


def why_unknown(series: str) -> str | None:
    """Return what to say of a series that nothing here measures; None if something does."""
    collection, _, statistic = series.partition("/")
    if statistic in (ARRAY, HISTOGRAM) or series in (UPDATE_RATIO, STRAYS_L2):
        return None
    known: list[str] = [*sorted(measure.STATISTICS), *CHANGES]
    if collection in PARAMETERS:
        if statistic in measure.STATISTICS or comparison_of(statistic) is not None:
            return None
        known += [UPDATE_RATIO.partition("/")[2]] if collection == "weights" else []
    elif collection == "biases":
        return f"series {series} is not known; biases are recorded in weights/{statistic}"
    elif collection in WHOLE_ONLY:
        known = []
    else:
        own = collection not in ACTIVATIONS  # a user's own collection
        if measure_of(statistic) is not None or (not own and comparison_of(statistic)):
            return None
        if series == "outputs/saturated":
            return None
        known += ["inactive:P", "outside:LOW:HIGH:P"]
    return f"series {series} is not known; there are: {', '.join([*known, ARRAY, HISTOGRAM])}"

"""What is measured of one step's activations, in the order of the forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from orchestrator_runtime.hook.pytorch.memory import Memory, comparison_of
from orchestrator_runtime.hook.pytorch.units import measure_of, unit_axis
from orchestrator_runtime.hook.wishes import is_whole
from orchestrator_runtime.trace.record import Table, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.arrays import Arrays, Copy
    from orchestrator_runtime.hook.pytorch.sample import Sample

    Measure = Callable[[str, torch.Tensor], torch.Tensor]


class _Seen(NamedTuple):
    module: nn.Module
    kind: str
    shape: tuple[int, ...]
    numbers: list[torch.Tensor | None]
    copies: list[Copy]


class Activations:
    """One collection, ``outputs`` or ``inputs``: which series it has, and this step's numbers.

    Args:
        collection: Its name.
        monitor: Says which series are due.
        arrays: Takes whole tensors.
        name_of: What a module's tensor is called.
        special: Measures by series, of kind and values, that only this collection has.
    """

    def __init__(
        self,
        collection: str,
        monitor: Monitor,
        arrays: Arrays,
        name_of: Callable[[nn.Module], str],
        special: Mapping[str, Measure],
    ) -> None:
        self._collection = collection
        self._monitor = monitor
        self._arrays = arrays
        self._name_of = name_of
        self._memory = Memory(monitor.note)
        self._measures: dict[str, Measure | None] = {}
        for series in monitor.schedule.names():
            mine, _, statistic = series.partition("/")
            measure = special.get(series) or _general(measure_of(statistic))
            if mine == collection and (measure or is_whole(series) or comparison_of(statistic)):
                self._measures[series] = measure
        self._wanted: list[str] = []
        self._seen: dict[int, _Seen] = {}
        self._tables: dict[tuple[Tensor, ...], Table] = {}

    def wanted(self, step: int) -> bool:
        """Begin a step; return whether anything of it is due. What step 0 gives comes with 1."""
        due = self._monitor.schedule.due(0 if step == 1 else step)
        self._wanted = [series for series in due if series in self._measures]
        return bool(self._wanted)

    def add(self, module: nn.Module, kind: str, values: torch.Tensor) -> None:
        """Measure what a module gave or was given; the last time in a step counts."""
        name = ""
        numbers: list[torch.Tensor | None] = []
        copies = []
        for series in self._wanted:
            measure = self._measures[series]
            if measure is not None:
                numbers.append(measure(kind, values))
            elif is_whole(series):
                name = name or self._name_of(module)
                copy = self._arrays.chosen(series, name, values, kind)
                copies += [] if copy is None else [copy]
                numbers.append(None)
            else:
                numbers += self._memory.compared(series, [id(module)], [values])
        self._seen.pop(id(module), None)
        self._seen[id(module)] = _Seen(
            module, kind, (values.shape[unit_axis(values)],), numbers, copies
        )

    def forget(self) -> None:
        """Measure no more of this step."""
        self._wanted = []

    def drop(self) -> None:
        """Forget what was measured since the last step."""
        self._seen = {}

    def take(self, sample: Sample) -> None:
        """Put what was measured into a sample."""
        seen, self._seen = list(self._seen.values()), {}
        if not seen or not self._wanted:
            return
        tensors = tuple(Tensor(self._name_of(each.module), each.shape, each.kind) for each in seen)
        table = self._tables.setdefault(tensors, Table(self._collection, 0, tensors))
        for index, series in enumerate(self._wanted):
            _put(sample, series, table, [each.numbers[index] for each in seen])
        for each in seen:
            sample.arrays += each.copies


def _put(
    sample: Sample, series: str, table: Table, numbers: Sequence[torch.Tensor | None]
) -> None:
    there = [number is not None for number in numbers]
    present = [number for number in numbers if number is not None]
    if present:
        sample.block(series, table, present, None if all(there) else there)


def _general(measure: Callable[[torch.Tensor], torch.Tensor] | None) -> Measure | None:
    if measure is None:
        return None
    return lambda _, values: measure(values)


def forward_hook(
    activations: Activations, note: Callable[[str], None], look: Callable[..., None]
) -> Callable[..., None]:
    """Return a hook of modules that never raises: a forward pass is the program's own."""

    @torch.no_grad()
    def hook(*arguments: Any) -> None:
        try:
            look(*arguments)
        except Exception as error:  # noqa: BLE001 -- see above
            note(f"activations are not measured: {type(error).__name__}: {error}")
            activations.forget()

    return hook

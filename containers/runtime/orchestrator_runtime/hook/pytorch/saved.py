"""What the program gives itself: `save_tensor`, `save_scalar`, `report_metric`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from orchestrator_runtime.hook.given import Given, close_given, open_given
from orchestrator_runtime.hook.pytorch.units import measure_of
from orchestrator_runtime.trace.kinds import ARRAY
from orchestrator_runtime.trace.record import Table, Tensor

if TYPE_CHECKING:
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.arrays import Arrays, Copy
    from orchestrator_runtime.hook.pytorch.sample import Sample

MOST_TENSORS = 256
"""Tensors of one step; a program that never steps must not fill the memory."""


class Saved:
    """Puts scalars and tensors into the next step's sample.

    A tensor is recorded as an array: at each call, or at the steps that the plan has for
    ``<collection>/array``. Series of its collection are measured as they are due.
    """

    def __init__(self, monitor: Monitor, arrays: Arrays) -> None:
        self._monitor = monitor
        self._arrays = arrays
        self._step = 0
        self._copies: list[Copy] = []
        self._numbers: dict[str, dict[Tensor, torch.Tensor]] = {}
        self._tables: dict[tuple[str, tuple[Tensor, ...]], Table] = {}
        self._given = Given(self._save)
        open_given(self._given)

    def arm(self, step: int) -> None:
        """Begin a step."""
        self._step = step

    def take(self, sample: Sample) -> None:
        """Hand on what was given since the last step."""
        for name, value in self._given.take().items():
            if isinstance(value, torch.Tensor):
                sample.scalar(name, value)
            else:
                sample.record.scalars.setdefault(name, value)
        sample.arrays += self._copies
        for series, numbers in self._numbers.items():
            tensors = tuple(numbers)
            collection = series.partition("/")[0]
            known = self._tables.setdefault(
                (collection, tensors), Table(collection, sample.record.optimizer, tensors)
            )
            sample.block(series, known, list(numbers.values()))
        self._copies, self._numbers = [], {}

    def disarm(self) -> None:
        """Go on: what the program gives belongs to the next step, whichever that is."""
        self._step = 0

    def close(self) -> None:
        """Take nothing any more."""
        close_given(self._given)

    def _save(self, name: str, tensor: Any, collection: str) -> None:
        try:
            with torch.no_grad():
                self._keep(name, torch.as_tensor(tensor).detach(), collection)
        except Exception as error:  # noqa: BLE001 -- of the program's own thread
            self._monitor.note(f"tensor {name} is not saved: {type(error).__name__}: {error}")

    def _keep(self, name: str, tensor: torch.Tensor, collection: str) -> None:
        if len(self._copies) >= MOST_TENSORS:
            self._monitor.note(f"more than {MOST_TENSORS} tensors are saved between two steps")
            return
        due = self._monitor.schedule.due(self._step)
        series = f"{collection}/{ARRAY}"
        if series in due or series not in self._monitor.schedule.names():
            copy = self._arrays.whole(collection, name, tensor)
            self._copies += [] if copy is None else [copy]
        described = Tensor(name, tuple(tensor.shape), "saved")
        for series in due:
            mine, _, statistic = series.partition("/")
            measure = measure_of(statistic) if mine == collection and tensor.numel() else None
            if measure is not None:
                values = tensor if tensor.is_floating_point() else tensor.float()
                self._numbers.setdefault(series, {})[described] = measure(values)

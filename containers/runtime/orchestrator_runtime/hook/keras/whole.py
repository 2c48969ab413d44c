"""Which tensors of one optimizer are kept as a whole, or as histograms, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from orchestrator_runtime.hook.keras import measure
from orchestrator_runtime.hook.keras.store import Store
from orchestrator_runtime.hook.room import Room
from orchestrator_runtime.hook.wishes import is_whole
from orchestrator_runtime.trace.kinds import HISTOGRAM
from orchestrator_runtime.trace.record import HISTOGRAM_SUFFIX, Array

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator_runtime.hook.keras.parts import Inputs
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.schedule import Interval
    from orchestrator_runtime.trace.record import Tensor

COLLECTIONS = ("weights", "gradients")
"""Those that are recorded as a whole of Keras programs."""
HISTOGRAM_NUMBERS = 2 + measure.BINS


class _Piece(NamedTuple):
    """One tensor's place in a store's rows.

    Attributes:
        place: The variable's, among those of the optimizer.
    """

    series: str
    tensor: Tensor
    place: int

    @property
    def is_histogram(self) -> bool:
        return self.series.endswith(f"/{HISTOGRAM}")

    @property
    def numbers(self) -> int:
        return HISTOGRAM_NUMBERS if self.is_histogram else self.tensor.size

    def make(self, inputs: Inputs) -> Any:
        """Return its numbers, as operations of a branch."""
        if self.series.startswith("weights/"):
            value = inputs.weights()[self.place]
        else:
            value = inputs.values[self.place].whole()
        if self.is_histogram:
            return measure.histogram(value)
        return tf.cast(tf.reshape(measure.wide(value), [-1]), tf.float32)

    def array(self, step: int, numbers: Any) -> Array:
        """Return what the trace has of it."""
        collection = self.series.partition("/")[0]
        shape = self.tensor.shape
        if self.is_histogram:
            collection, shape = collection + HISTOGRAM_SUFFIX, (HISTOGRAM_NUMBERS,)
        data = numbers.astype("<f4").tobytes()
        return Array(self.tensor.name, collection, step, "float32", shape, data)


class Whole:
    """The whole tensors of one optimizer.

    Args:
        monitor: Says which are wanted when, and takes remarks.
        device: Where the optimizer's variables are.
    """

    def __init__(self, monitor: Monitor, device: str) -> None:
        self._monitor = monitor
        self._device = device
        self._room = Room(monitor.note)
        self._stores: list[tuple[tuple[_Piece, ...], Store]] = []

    @property
    def capacities(self) -> list[int]:
        """How many steps may pass between two readings, of each store."""
        return [store.capacity for _, store in self._stores]

    def stores_for(self, tensors: Sequence[Tensor], inputs: Inputs) -> tuple[int, ...]:
        """Return the numbers of the stores that steps with such inputs fill."""
        self._room.next_step()
        found = []
        for interval, names in self._monitor.schedule.groups.items():
            pieces = tuple(self._pieces(filter(is_whole, sorted(names)), tensors, inputs))
            if pieces:
                found.append(self._number(interval, pieces))
        return tuple(found)

    def write(self, numbers: Iterable[int], step: Any, inputs: Inputs) -> list[Any]:
        """Return operations that fill stores, where they are due."""
        return [self._write(*self._stores[number], step, inputs) for number in numbers]

    def read(self, numbers: Iterable[int], step: int) -> list[Array]:
        """Return the tensors of a step."""
        return [
            array
            for number in numbers
            if self._stores[number][1].interval.holds(step)
            for array in self._read(*self._stores[number], step)
        ]

    def _write(self, pieces: tuple[_Piece, ...], store: Store, step: Any, inputs: Inputs) -> Any:
        def keep() -> Any:
            return store.write(step, tf.concat([piece.make(inputs) for piece in pieces], 0))

        return tf.cond(measure.holds(step, store.interval), keep, lambda: tf.constant(0))

    def _read(self, pieces: tuple[_Piece, ...], store: Store, step: int) -> Iterator[Array]:
        row = store.read(step)
        if row is None:
            self._monitor.note(
                "whole tensors were made faster than they can be read: of some steps none are "
                "recorded; raise their number of steps"
            )
            return
        at = 0
        for piece in pieces:
            yield piece.array(step, row[at : at + piece.numbers])
            at += piece.numbers

    def _pieces(
        self, names: Iterable[str], tensors: Sequence[Tensor], inputs: Inputs
    ) -> Iterator[_Piece]:
        for series in names:
            collection = series.partition("/")[0]
            if collection not in COLLECTIONS:
                continue
            for place, tensor in enumerate(tensors):
                piece = _Piece(series, tensor, place)
                if self._is_there(piece, inputs) and self._fits(piece):
                    yield piece

    def _is_there(self, piece: _Piece, inputs: Inputs) -> bool:
        tensor = piece.tensor
        if not self._monitor.patterns.hold(piece.series, tensor.name, tensor.role):
            return False
        if piece.series.startswith("weights/"):
            return True
        gradient = inputs.gradients[piece.place]
        if isinstance(gradient, tf.IndexedSlices):
            self._room.leave_out(f"{piece.series} of {tensor.name} and its like", "it is sparse")
            return False
        return gradient is not None

    def _fits(self, piece: _Piece) -> bool:
        if piece.is_histogram:
            return piece.tensor.size > 0
        collection = piece.series.partition("/")[0]
        return self._room.takes(f"array {collection}/{piece.tensor.name}", 4 * piece.tensor.size)

    def _number(self, interval: Interval, pieces: tuple[_Piece, ...]) -> int:
        for number, (known, store) in enumerate(self._stores):
            if known == pieces and store.interval == interval:
                return number
        width = sum(piece.numbers for piece in pieces)
        self._stores.append((pieces, Store(width, interval, self._device)))
        return len(self._stores) - 1


def not_recorded(schedule: Mapping[Interval, frozenset[str]]) -> list[str]:
    """Return the series of whole tensors that a Keras program's run will not have."""
    names = sorted({name for group in schedule.values() for name in group if is_whole(name)})
    return [name for name in names if name.partition("/")[0] not in COLLECTIONS]

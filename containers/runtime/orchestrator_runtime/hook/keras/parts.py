"""Which statistics a row of one optimizer has, and the operations that make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from orchestrator_runtime.hook.keras import measure
from orchestrator_runtime.hook.keras.layout import BEFORE, CHANGE, Section
from orchestrator_runtime.hook.keras.names import is_wide, named
from orchestrator_runtime.hook.schedule import Interval
from orchestrator_runtime.trace.record import GRADIENTS_L2, UPDATE_RATIO, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ALWAYS = Interval(1)
IDLE_UNITS = "idle_units"


class Inputs(NamedTuple):
    """What statistics of a step are made of.

    Attributes:
        gradients: Of all variables, None where there is none.
        values: The same, as they are read.
        weights: Reads all variables, after the step.
        snapshot: Samples of the wide ones before it, one after the other.
    """

    gradients: Sequence[Any]
    values: Sequence[Any]
    weights: Callable[[], Sequence[Any]]
    snapshot: Any


class Part(NamedTuple):
    """A statistic's place in a row and what makes it."""

    section: Section
    make: Callable[[Inputs], Any]


class Group(NamedTuple):
    """Statistics that are due at the same steps."""

    interval: Interval
    parts: list[Part]
    always: bool = False

    @property
    def length(self) -> int:
        """Numbers of all of them."""
        return sum(part.section.numbers for part in self.parts)

    def make(self, inputs: Inputs) -> Any:
        """Return all numbers."""
        return tf.concat([part.make(inputs) for part in self.parts], 0)


class Tables:
    """The variables of an optimizer as tables.

    Attributes:
        wide: Places of those with output units.
    """

    def __init__(self, variables: Sequence[Any], optimizer: int) -> None:
        tensors = named(variables)
        self.wide = [place for place, tensor in enumerate(tensors) if is_wide(tensor)]
        some = tuple(tensors[place] for place in self.wide)
        self.gradients = Table("gradients", optimizer, tensors)
        self.weights = Table("weights", optimizer, tensors)
        self.wide_gradients = Table("gradients", optimizer, some)
        self.wide_weights = Table("weights", optimizer, some)
        self.samples = [measure.sampled(tensor.size) for tensor in some]

    def snapshot(self, variables: Sequence[Any]) -> Any:
        """Return samples of the wide variables, one after the other."""
        return tf.concat(
            [tf.cast(measure.sample(variables[place]), tf.float32) for place in self.wide], 0
        )

    def groups(
        self, schedule: Mapping[Interval, frozenset[str]], inputs: Inputs
    ) -> Iterator[Group]:
        """Return what is recorded of steps with such inputs, what is due always first.

        That is norms only: other statistics read tensors that are no part of the program, and
        are made in branches.
        """
        always = GRADIENTS_L2 in schedule.get(ALWAYS, ())
        if always:
            yield Group(ALWAYS, list(self._parts(GRADIENTS_L2, inputs)), always=True)
        for interval, names in schedule.items():
            parts = [
                part
                for series in sorted(names)
                if not (always and series == GRADIENTS_L2)
                for part in self._parts(series, inputs)
            ]
            if parts:
                yield Group(interval, parts)

    def _parts(self, series: str, inputs: Inputs) -> Iterator[Part]:
        collection, _, statistic = series.partition("/")
        if series == UPDATE_RATIO:
            if inputs.snapshot is not None:
                yield Part(Section(CHANGE, self.wide_weights, series), self._changes)
                yield Part(Section(BEFORE, self.wide_weights, series), self._befores)
        elif statistic not in measure.STATISTICS:
            return
        elif collection == "weights":
            section = Section(series, self.weights, series)
            yield Part(section, lambda given: measure.STATISTICS[statistic](given.weights()))
        elif collection == "gradients":
            yield from self._of_gradients(series, statistic, inputs)

    def _of_gradients(self, series: str, statistic: str, inputs: Inputs) -> Iterator[Part]:
        only_wide = statistic == IDLE_UNITS
        table = self.wide_gradients if only_wide else self.gradients
        places = self.wide if only_wide else range(len(inputs.gradients))
        there = tuple(_is_there(statistic, inputs.gradients[place]) for place in places)
        chosen = [place for place, has in zip(places, there) if has]
        if chosen:
            section = Section(series, table, series, None if all(there) else there)

            def make(given: Inputs) -> Any:
                values = [given.values[at] for at in chosen]
                if series == GRADIENTS_L2:
                    return measure.norms(values)
                return measure.STATISTICS[statistic]([value.whole() for value in values])

            yield Part(section, make)

    def _changes(self, inputs: Inputs) -> Any:
        before = self._split(inputs.snapshot)
        weights = inputs.weights()
        now = [measure.sample(weights[place]) for place in self.wide]
        return measure.l2([tf.cast(new, tf.float32) - old for new, old in zip(now, before)])

    def _split(self, snapshot: Any) -> Any:
        return tf.split(tf.ensure_shape(snapshot, [sum(self.samples)]), self.samples)

    def _befores(self, inputs: Inputs) -> Any:
        return measure.l2(self._split(inputs.snapshot))


def _is_there(statistic: str, gradient: Any) -> bool:
    return gradient is not None and measure.fits(statistic, gradient)


def conditional(step: Any, groups: Sequence[Group], inputs: Inputs) -> Any:
    """Return the numbers of groups, zeros for those that are not due.

    At most steps none is, and one operation finds that out.
    """
    due = [measure.holds(step, group.interval) for group in groups]
    length = sum(group.length for group in groups)

    def each() -> Any:
        return tf.concat([_made(*pair, inputs) for pair in zip(due, groups)], 0)

    if len(groups) == 1:
        return measure.when(due[0], lambda: groups[0].make(inputs), length)
    return measure.when(tf.reduce_any(tf.stack(due)), each, length)


def _made(due: Any, group: Group, inputs: Inputs) -> Any:
    return measure.when(due, lambda: group.make(inputs), group.length)

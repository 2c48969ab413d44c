"""Variables whose gradients were computed though no optimizer has them: nothing will change them.

A model that was made anew, or copied, after its optimizer was built.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from orchestrator_runtime.hook.keras import measure
from orchestrator_runtime.hook.keras.layout import Section
from orchestrator_runtime.hook.keras.names import named
from orchestrator_runtime.hook.keras.watch import Extra
from orchestrator_runtime.trace.record import STRAYS_L2, Block, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator_runtime.hook.schedule import Interval
    from orchestrator_runtime.trace.record import StepRecord

MOST = 1000
"""Variables that are told of."""


class Stray:
    """A variable that no optimizer had when its gradient was computed."""

    def __init__(self, variable: Any) -> None:
        self._variable = weakref.ref(raw(variable))
        self._owned = False

    def look(self, strays: Strays) -> None:
        """Remember whether an optimizer has it by now: the variable may die before that is asked."""
        variable = self._variable()
        self._owned = self._owned or (variable is not None and strays.is_owned(variable))

    @property
    def is_owned(self) -> bool:
        """Whether an optimizer had it at some time."""
        return self._owned


class Strays:
    """What tapes were asked for, less what optimizers have.

    Which optimizers there are is known only later: where a graph is made, the second one of two may
    not have been seen yet. So all are measured that are strays then, and dropped when they are read
    if an optimizer has had them by that time.
    """

    def __init__(self) -> None:
        self._found: dict[Table, tuple[Stray, ...]] = {}
        self._owned: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def own(self, variables: Sequence[Any]) -> None:
        """Note what an optimizer has."""
        self._owned.update({id(raw(variable)): raw(variable) for variable in variables})
        for stray in itertools.chain.from_iterable(list(self._found.values())):
            stray.look(self)

    def is_owned(self, variable: Any) -> bool:
        """Return whether an optimizer has a variable."""
        return self._owned.get(id(raw(variable))) is raw(variable)

    def measured(
        self,
        pairs: Sequence[tuple[Any, Any]],
        step: Any,
        schedule: Mapping[Interval, frozenset[str]],
    ) -> Extra | None:
        """Return the norms of gradients of strays, as operations of the graph that is made here.

        Args:
            pairs: Variables and their gradients, of the step.
            step: The variable that counts steps.
            schedule: Series by interval.
        """
        interval = next((each for each, series in schedule.items() if STRAYS_L2 in series), None)
        found = {id(raw(v)): (v, gradient) for v, gradient in pairs if not self.is_owned(v)}
        strays = list(found.values())[:MOST]
        if interval is None or not strays:
            return None
        table = Table("strays", 0, named([variable for variable, _ in strays]))
        self._found[table] = tuple(Stray(variable) for variable, _ in strays)
        values = [measure.value_of(gradient) for _, gradient in strays]
        numbers = measure.when(
            measure.holds(step, interval),
            lambda: measure.vector([value.l2() for value in values]),
            len(values),
        )
        return Extra((Section(STRAYS_L2, table, STRAYS_L2),), numbers)

    def drop_owned(self, record: StepRecord) -> None:
        """Leave out of a step what an optimizer has, as is known by now."""
        block = record.blocks.pop(STRAYS_L2, None)
        if block is None:
            return
        values = [
            None if stray.is_owned else value
            for value, stray in zip(block.values, self._found.get(block.table, ()))
        ]
        if any(value is not None for value in values):
            record.blocks[STRAYS_L2] = Block(block.table, values)


def raw(variable: Any) -> Any:
    """Return TensorFlow's own variable."""
    return variable if isinstance(variable, tf.Variable) else variable.value


def joined(*extras: Extra | None) -> Extra | None:
    """Return what some extras hold, as one."""
    there = [extra for extra in extras if extra is not None]
    if len(there) < 2:
        return there[0] if there else None
    sections = tuple(section for extra in there for section in extra.sections)
    return Extra(sections, tf.concat([extra.numbers for extra in there], 0))

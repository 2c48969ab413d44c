"""One optimizer under watch: the operations that write its rows, and what reads them."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from orchestrator_runtime.hook.keras import measure
from orchestrator_runtime.hook.keras.layout import Layout, Section, record_of
from orchestrator_runtime.hook.keras.parts import Inputs, Tables, conditional
from orchestrator_runtime.hook.keras.ring import Ring
from orchestrator_runtime.hook.keras.state import variable
from orchestrator_runtime.hook.keras.whole import Whole
from orchestrator_runtime.trace.record import UPDATE_RATIO, StepRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.trace.record import Array


class Extra(NamedTuple):
    """Numbers that were made elsewhere: of activations, before the backward pass."""

    sections: tuple[Section, ...]
    numbers: Any


class Watch:
    """One optimizer. A step's row is written where it happens, and read later.

    Args:
        optimizer: Whose steps are written.
        index: Its number, in the order of first steps.
        monitor: Gets the steps.
        device: Where its variables are.
        amend: Called with each step that was read, before it is handed on.

    Attributes:
        index: The optimizer's, in the order of first steps.
        step: The variable that counts its steps.
        losses: The variable that adds up the losses of micro batches.
        called: Steps that eager code has made since rows were read.
    """

    def __init__(
        self,
        optimizer: Any,
        index: int,
        monitor: Monitor,
        device: str,
        amend: Callable[[StepRecord], None],
    ) -> None:
        self.index = index
        self.optimizer = weakref.ref(optimizer)
        self._monitor = monitor
        self._device = device
        self._amend = amend
        self.step = variable(lambda: tf.zeros([], tf.int64), "step", self._device)
        self.losses = variable(lambda: tf.zeros([]), "losses", self._device)
        self._known: tuple[int, ...] | None = None
        self._tables: Tables
        self._layouts: list[Layout] = []
        self._numbers: dict[Any, int] = {}
        self._functions: dict[Any, Any] = {}
        self._rings: list[Ring] = []
        self._whole = Whole(monitor, device)
        self._next = 0
        # Counted by the program's thread alone, while another one reads: see ``begun``.
        self._made = 0
        self._is_making = False
        self._made_in_graphs = 0
        self._made_when_read = 0
        self._last_time = time.time()
        self._held: tuple[StepRecord, Sequence[Array]] | None = None

    @property
    def capacity(self) -> int:
        """How many steps may pass between two readings."""
        rings = [ring.capacity for ring in self._rings]
        return min([*rings, *self._whole.capacities], default=1)

    @property
    def called(self) -> int:
        """Steps of eager code since rows were read last."""
        return self._made - self._made_when_read

    @property
    def begun(self) -> int:
        """Steps that are known to have been made: exactly, for a program that makes none in graphs."""
        return self._made_in_graphs + self._made

    def before(self, variables: Sequence[Any]) -> Any:
        """Return samples of weights, where the step that begins needs them; None if none does."""
        tables = self._know(variables)
        groups = self._monitor.schedule.groups
        intervals = [each for each, series in groups.items() if UPDATE_RATIO in series]
        if not intervals or not tables.wide:
            return None
        length = sum(tables.samples)
        # What eager code hands on has a shape, which must be the same at each step.
        choose = measure.when if tf.executing_eagerly() else measure.only_when

        def make() -> Any:
            due = measure.holds(self.step, intervals[0])
            return choose(due, lambda: tables.snapshot(_raw(variables)), length)

        return self._run(("before", self._known), make)

    def norm(self, gradients: Sequence[Any]) -> Any:
        """Return the total norm of gradients."""
        present = [gradient for gradient in gradients if gradient is not None]
        return self._run(
            ("norm", len(present)),
            lambda *given: measure.total_norm(given),
            *present,
        )

    def after(
        self,
        variables: Sequence[Any],
        gradients: Sequence[Any],
        snapshot: Any,
        scalars: Mapping[str, Any],
        extra: Extra | None,
    ) -> None:
        """Write the row of an executed step, given all variables of the optimizer.

        The gradients are theirs, as the step used them, None for those without one.
        """
        self._know(variables)
        names = tuple(scalars)
        kinds = tuple(_kind(gradient) for gradient in gradients)
        key = (self._known, kinds, names, snapshot is None, extra and extra.sections)
        present = [gradient for gradient in gradients if gradient is not None]

        def make(given: Any, numbers: Any, before: Any, more: Any) -> Any:
            rest = iter(given)
            every = [None if kind is None else next(rest) for kind in kinds]
            values = [None if each is None else measure.value_of(each) for each in every]
            inputs = Inputs(every, values, lambda: _raw(variables), before)
            return self._write(key, names, numbers, inputs, extra and (extra.sections, more))

        numbers = [measure.single(number) for number in scalars.values()]
        self._run(key, make, present, numbers, snapshot, extra and extra.numbers)

    def skipped(self, scalars: Mapping[str, Any]) -> None:
        """Write the row of a step that was left out."""
        names = tuple(scalars)
        numbers = [measure.single(number) for number in scalars.values()]
        key = ("skipped", names)

        def make(given: Any) -> Any:
            return self._put(self._number(key, Layout(names, (), skipped=True)), given)

        self._run(key, make, numbers)

    def _run(self, key: Any, make: Callable[..., Any], *given: Any) -> Any:
        """Put operations into the graph that is made here, or run them as a graph of their own."""
        if not tf.executing_eagerly():
            with tf.name_scope("orchestrator_debugger"):
                return make(*given)
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = tf.function(
                make, reduce_retracing=True, autograph=False
            )
        if key[0] in ("before", "norm"):
            return function(*given)
        self._is_making = True
        try:
            return function(*given)
        finally:
            self._made += 1
            self._is_making = False

    def _write(
        self, key: Any, names: tuple[str, ...], numbers: Any, inputs: Inputs, extra: Any
    ) -> Any:
        groups = list(self._tables.groups(self._monitor.schedule.groups, inputs))
        always = [group for group in groups if group.always]
        rest = [group for group in groups if not group.always]
        sections = [part.section for group in groups for part in group.parts]
        vectors = [group.make(inputs) for group in always]
        if rest:
            vectors.append(conditional(self.step.read_value(), rest, inputs))
        if extra is not None:
            sections.extend(extra[0])
            vectors.append(extra[1])
        stores = self._whole.stores_for(self._tables.weights.tensors, inputs)
        kept = self._whole.write(stores, self.step.read_value(), inputs)
        number = self._number(key, Layout(names, tuple(sections), whole=stores))
        return self._put(number, numbers, vectors, kept)

    def _put(
        self,
        number: int,
        scalars: Sequence[Any],
        vectors: Sequence[Any] = (),
        kept: Sequence[Any] = (),
    ) -> Any:
        layout = self._layouts[number]
        head = tf.stack([tf.constant(float(number)), *scalars])
        step = self.step.read_value()
        written = self._ring(layout.width).write(step, tf.concat([head, *vectors], 0))
        with tf.control_dependencies([*kept, *([] if written is None else [written])]):
            self.step.assign_add(1, read_value=False)
        return tf.constant(0)

    def _number(self, key: Any, layout: Layout) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._layouts)
            self._layouts.append(layout)
        return number

    def _ring(self, width: int) -> Ring:
        if not self._rings or self._rings[-1].width < width:
            self._rings.append(Ring(width, self._device))
        return self._rings[-1]

    def _know(self, variables: Sequence[Any]) -> Tables:
        known = tuple([id(variable) for variable in variables])
        if known != self._known:
            self._known = known
            self._tables = Tables(variables, self.index)
        return self._tables

    def drain(self, *, last: bool = False) -> None:
        """Hand on the steps that were written; the last one only when the next is there.

        Args:
            last: Hand on that one too.
        """
        if self._rings:
            self._read(self._count())
        if last:
            self.release()

    def _count(self) -> int:
        """Return how many steps were made; note how many of them in graphs, if none is made now."""
        made, is_quiet = self._made, not self._is_making
        count = int(self.step.numpy())
        if is_quiet and made == self._made and not self._is_making:
            self._made_in_graphs = count - made
        self._made_when_read = made
        return count

    def release(self) -> None:
        """Hand on the last step."""
        held, self._held = self._held, None
        if held is not None:
            self._monitor.burst([held])

    def report(self, metrics: Mapping[str, float]) -> bool:
        """Add metrics to the last step; return whether there is one that can take them."""
        if self._held is None:
            return False
        self._held[0].scalars.update(metrics)
        return True

    def _read(self, count: int) -> None:
        first = max(self._next, count - self.capacity)
        lost = first - self._next
        now, before = time.time(), self._last_time
        steps = range(first, count)
        for step, row in zip(steps, self._rows(steps) if steps else ()):
            if row is None:
                if step == count - 1:
                    count = step  # it is being written
                    break
                lost += 1
                continue
            at = before + (now - before) * (step - first + 1) / len(steps)
            record = StepRecord(step, at, self.index)
            due = self._monitor.schedule.due(step)
            self.release()
            layout = self._layouts[int(row[1])]
            arrays = self._whole.read(layout.whole, step)
            record_of(layout, row, record, due)
            self._amend(record)
            self._held = record, arrays
        if count > self._next:
            self._next, self._last_time = count, now
        if lost:
            self._monitor.note(
                f"steps were made faster than they can be read: {lost} steps of optimizer "
                f"{self.index} are not recorded"
            )

    def _rows(self, steps: range) -> list[list[float] | None]:
        found = self._rings[-1].read(steps)
        for ring in reversed(self._rings[:-1]):
            if None not in found:
                break
            found = [new or old for new, old in zip(found, ring.read(steps))]
        return found


def _raw(variables: Sequence[Any]) -> list[Any]:
    """Return the tensors of variables, in the precision in which they are stored."""
    return [
        tf.convert_to_tensor(variable if isinstance(variable, tf.Variable) else variable.value)
        for variable in variables
    ]


def _kind(gradient: Any) -> str | None:
    if gradient is None:
        return None
    return "sparse" if isinstance(gradient, tf.IndexedSlices) else "dense"

"""The last of some whole tensors, in a variable: a graph fills it where they are due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from orchestrator_runtime.hook.keras.layout import STEP_MODULUS, step_mark
from orchestrator_runtime.hook.keras.state import variable

if TYPE_CHECKING:
    from orchestrator_runtime.hook.schedule import Interval

MOST_BYTES = 64 * 1024 * 1024
"""Of one store; two steps fit in any case."""
FEWEST_ROWS, MOST_ROWS = 2, 32
NO_STEP = -1.0


class Store:
    """Rows of numbers, each of a step at which they were due.

    A row is marked with its step once it is complete: who reads it asks for the mark before and
    after.

    Args:
        width: Numbers of a step.
        interval: The steps at which they are due.

    Attributes:
        capacity: How many steps, due or not, may be made between two readings.
    """

    def __init__(self, width: int, interval: Interval, device: str) -> None:
        self.interval = interval
        self._count = max(FEWEST_ROWS, min(MOST_ROWS, MOST_BYTES // (4 * max(width, 1))))
        self.capacity = _steps_that_fit(interval, self._count)
        self._rows = variable(lambda: tf.zeros([self._count, width]), "tensors", device)
        self._marks = variable(lambda: tf.fill([self._count], NO_STEP), "tensor_steps", device)
        self._written = variable(lambda: tf.zeros([], tf.int64), "tensor_count", device)

    def write(self, step: Any, numbers: Any) -> Any:
        """Return the operation that keeps a step's numbers."""
        slot = tf.reshape(self._written.read_value() % self._count, [1])
        mark = tf.reshape(tf.cast(step % STEP_MODULUS, tf.float32), [1])
        with tf.control_dependencies([_put(self._marks, slot, tf.constant([NO_STEP]))]):
            kept = _put(self._rows, slot, tf.expand_dims(numbers, 0))
        with tf.control_dependencies([kept]):
            marked = _put(self._marks, slot, mark)
        with tf.control_dependencies([marked]):
            self._written.assign_add(1, read_value=False)
            return tf.constant(0)

    def read(self, step: int) -> Any:
        """Return a step's numbers as a NumPy array; None where they are not there any more."""
        wanted, marks = step_mark(step), self._marks.numpy().tolist()
        if wanted not in marks:
            return None
        slot = marks.index(wanted)
        row = self._rows.sparse_read([slot]).numpy()[0]
        return row if self._marks.numpy()[slot] == wanted else None


def _steps_that_fit(interval: Interval, rows: int) -> int:
    is_regular = not interval.steps and not interval.others
    return rows * max(interval.every, 1) if is_regular else rows


def _put(target: Any, slot: Any, rows: Any) -> Any:
    return tf.raw_ops.ResourceScatterUpdate(resource=target.handle, indices=slot, updates=rows)

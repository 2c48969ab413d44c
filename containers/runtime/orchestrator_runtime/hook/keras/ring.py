"""The last rows of numbers that steps wrote, in a variable: a graph fills it, anyone may read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from orchestrator_runtime.hook.keras.layout import STEP_MODULUS, step_mark
from orchestrator_runtime.hook.keras.state import variable

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_BYTES = 4 * 1024 * 1024
MOST_ROWS = 4096
FEWEST_ROWS = 32


class Ring:
    """Rows by their step, modulo the capacity.

    Attributes:
        capacity: How many steps it holds; more within one reading interval are lost.
        width: Numbers in a row.
    """

    def __init__(self, width: int, device: str) -> None:
        self.width = width
        self.capacity = max(FEWEST_ROWS, min(MOST_ROWS, MOST_BYTES // (4 * width)))
        self._rows = variable(lambda: tf.fill([self.capacity, width], -1.0), "rows", device)

    def write(self, step: Any, numbers: Any) -> Any:
        """Write a step's row, in eager code or as a part of a graph; return the operation."""
        mark = tf.cast(step % STEP_MODULUS, tf.float32)
        rest = tf.zeros([self.width - 1 - numbers.shape[0]], tf.float32)
        row = tf.concat([[mark], numbers, rest], 0)
        slot = tf.reshape(step % self.capacity, [1])
        rows = self._rows
        return tf.raw_ops.ResourceScatterUpdate(
            resource=rows.handle, indices=slot, updates=tf.expand_dims(row, 0)
        )

    def read(self, steps: Sequence[int]) -> list[list[float] | None]:
        """Return the rows of steps; None for one that is not there, or not any more."""
        slots = [step % self.capacity for step in steps]
        rows = self._rows.sparse_read(slots).numpy().tolist()
        return [row if row[0] == step_mark(step) else None for step, row in zip(steps, rows)]

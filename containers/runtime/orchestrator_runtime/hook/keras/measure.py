"""Statistics of many tensors at once, as one vector on their device: nothing here waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf
from tensorflow.python.ops import control_flow_util  # no public name tells what XLA compiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator_runtime.hook.schedule import Interval

MOST_ELEMENTS = 16_384
"""A tensor's update ratio is taken from at most about so many of its elements, evenly spread."""
COLUMNS = 64
BINS = 64
"""Of a histogram."""


def wide(tensor: Any) -> Any:
    """Return a tensor in at least single precision."""
    if tensor.dtype.is_complex:
        return tf.abs(tensor)
    return tensor if tensor.dtype in (tf.float32, tf.float64) else tf.cast(tensor, tf.float32)


def vector(numbers: Sequence[Any]) -> Any:
    """Return scalars as one vector of single precision."""
    if not numbers:
        return tf.zeros([0], tf.float32)
    return tf.stack([single(number) for number in numbers])


def single(number: Any) -> Any:
    """Return a scalar in single precision."""
    number = tf.convert_to_tensor(number)
    return number if number.dtype == tf.float32 else tf.cast(number, tf.float32)


class Value(NamedTuple):
    """A gradient as a tensor, before it was multiplied by, or divided by, a scalar.

    TensorFlow turns ``(gradient * scale) * rate`` into ``gradient * (scale * rate)``, with another
    rounding, if nothing else reads the first product. So that it does the same in a run that is
    watched, what is read is the gradient before, and the norm is multiplied.
    """

    tensor: Any
    factor: Any = None
    divisor: Any = None

    def whole(self) -> Any:
        """Return the tensor; only where its making is apart from the program's, as in a branch."""
        if self.factor is not None:
            return self.tensor * self.factor
        return self.tensor if self.divisor is None else self.tensor / self.divisor

    def l2(self) -> Any:
        """Return the L2 norm, from that of the tensor before."""
        norm = single(tf.sqrt(2.0 * half_square(wide(self.tensor))))
        if self.factor is not None:
            return norm * tf.abs(scalar(self.factor))
        return norm if self.divisor is None else norm / tf.abs(scalar(self.divisor))


def value_of(gradient: Any) -> Value:
    """Return the elements of a gradient, each once, whether it is sparse or not."""
    if isinstance(gradient, tf.IndexedSlices):
        if in_xla():
            return Value(tf.convert_to_tensor(gradient))  # XLA has no tf.unique
        unique, places = tf.unique(gradient.indices)
        return Value(tf.math.unsorted_segment_sum(gradient.values, places, tf.size(unique)))
    while tf.is_symbolic_tensor(gradient) and gradient.op.type == "Identity":
        gradient = gradient.op.inputs[0]
    if tf.is_symbolic_tensor(gradient) and gradient.op.type in ("Mul", "RealDiv"):
        left, right = gradient.op.inputs
        if gradient.op.type == "RealDiv":
            return Value(left, divisor=right) if _is_one(right) else Value(gradient)
        if _is_one(right):
            return Value(left, right)
        if _is_one(left):
            return Value(right, left)
    return Value(gradient)


def _is_one(tensor: Any) -> bool:
    return bool(tensor.shape.num_elements() == 1)


def scalar(tensor: Any) -> Any:
    """Return the only element of a tensor in single precision."""
    return single(tf.reshape(tensor, []))


def norms(values: Sequence[Value]) -> Any:
    """Return the L2 norms of gradients."""
    if all(value.factor is None and value.divisor is None for value in values):
        return l2([value.tensor for value in values])
    return vector([value.l2() for value in values])


def in_xla() -> bool:
    """Return whether the graph that is made here is for XLA."""
    graph = tf.compat.v1.get_default_graph()
    return bool(control_flow_util.GraphOrParentsInXlaContext(graph))


def half_square(tensor: Any) -> Any:
    """Return half the sum of squares.

    XLA adds one number after the other, as it is told; columns it adds side by side.
    """
    elements = tensor.shape.num_elements()
    if not in_xla() or elements is None or elements % COLUMNS or elements < COLUMNS * COLUMNS:
        return tf.nn.l2_loss(tensor)
    columns = tf.reshape(tensor, [elements // COLUMNS, COLUMNS])
    return 0.5 * tf.reduce_sum(tf.reduce_sum(tf.square(columns), axis=0))


def l2(tensors: Sequence[Any]) -> Any:
    """Return L2 norms."""
    halves = [half_square(wide(tensor)) for tensor in tensors]
    if any(half.dtype != tf.float32 for half in halves):
        return vector([tf.sqrt(2.0 * half) for half in halves])
    return tf.sqrt(2.0 * vector(halves))


def total_norm(gradients: Sequence[Any]) -> Any:
    """Return the L2 norm of all gradients together."""
    return tf.norm(norms([value_of(gradient) for gradient in gradients]))


def abs_max(tensors: Sequence[Any]) -> Any:
    """Return the largest absolute values."""
    return vector([tf.reduce_max(tf.abs(wide(each))) for each in tensors])


def abs_mean(tensors: Sequence[Any]) -> Any:
    """Return means of absolute values."""
    return vector([tf.reduce_mean(tf.abs(wide(each))) for each in tensors])


def zeros(tensors: Sequence[Any]) -> Any:
    """Return the shares of elements that are exactly zero."""
    return vector([_share(tf.equal(each, tf.zeros([], each.dtype))) for each in tensors])


def non_finite(tensors: Sequence[Any]) -> Any:
    """Return the numbers of elements that are NaN or infinite."""
    return vector(
        [
            tf.reduce_sum(_numbers(tf.logical_not(tf.math.is_finite(wide(each)))))
            for each in tensors
        ]
    )


def idle_units(tensors: Sequence[Any]) -> Any:
    """Return the shares of units (along the last axis) that are zero throughout."""
    return vector([_share(_throughout(tf.equal(wide(each), 0.0))) for each in tensors])


def mean(tensors: Sequence[Any]) -> Any:
    """Return means."""
    return vector([tf.reduce_mean(wide(each)) for each in tensors])


def variance(tensors: Sequence[Any]) -> Any:
    """Return variances (of the population)."""
    return vector([tf.math.reduce_variance(wide(each)) for each in tensors])


def std(tensors: Sequence[Any]) -> Any:
    """Return standard deviations (of the population)."""
    return vector([tf.math.reduce_std(wide(each)) for each in tensors])


def low(tensors: Sequence[Any]) -> Any:
    """Return the smallest values."""
    return vector([tf.reduce_min(wide(each)) for each in tensors])


def high(tensors: Sequence[Any]) -> Any:
    """Return the largest values."""
    return vector([tf.reduce_max(wide(each)) for each in tensors])


STATISTICS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "l2": l2,
    "abs_max": abs_max,
    "abs_mean": abs_mean,
    "zeros": zeros,
    "non_finite": non_finite,
    "idle_units": idle_units,
    "mean": mean,
    "variance": variance,
    "std": std,
    "min": low,
    "max": high,
}
_OF_VALUES = frozenset(("l2", "abs_max", "non_finite"))
"""What the elements of a sparse gradient that are there tell of the whole."""


def fits(statistic: str, gradient: Any) -> bool:
    """Return whether a statistic has a meaning for a gradient, which may be sparse."""
    return statistic in _OF_VALUES or not isinstance(gradient, tf.IndexedSlices)


def histogram(tensor: Any) -> Any:
    """Return the smallest and the largest finite value, and counts in BINS bins between them."""
    values = tf.cast(wide(tf.reshape(tensor, [-1])), tf.float32)
    finite = tf.math.is_finite(values)
    low = tf.reduce_min(tf.where(finite, values, float("inf")))
    high = tf.reduce_max(tf.where(finite, values, float("-inf")))
    width = (high / 2 - low / 2) / BINS * 2  # the range of single precision exceeds its maximum
    places = tf.math.divide_no_nan(tf.where(finite, values, low) - low, width)
    places = tf.cast(tf.clip_by_value(places, 0.0, BINS - 1.0), tf.int32)
    counts = tf.math.unsorted_segment_sum(tf.cast(finite, tf.int32), places, BINS)
    return tf.concat([tf.stack([low, high]), tf.cast(counts, tf.float32)], 0)


def _numbers(flags: Any) -> Any:
    return tf.cast(flags, tf.float32)


def _share(flags: Any) -> Any:
    return tf.reduce_mean(_numbers(flags))


def _throughout(flags: Any) -> Any:
    return tf.reduce_all(flags, axis=list(range(len(flags.shape) - 1)))


def sample(tensor: Any) -> Any:
    """Return at most about MOST_ELEMENTS elements of a tensor, evenly spread."""
    flat = wide(tf.reshape(tensor, [-1]))
    return flat if sampled(flat.shape[0]) == flat.shape[0] else flat[:: stride(flat.shape[0])]


def sampled(elements: int) -> int:
    """Return of how many elements a sample consists."""
    if elements <= MOST_ELEMENTS:
        return elements
    return -(-elements // stride(elements))


def stride(elements: int) -> int:
    """Return an odd step: with an even one whole columns of a matrix would never be seen."""
    return (elements // MOST_ELEMENTS) | 1


def holds(step: Any, interval: Interval) -> Any:
    """Return, as a tensor, whether a step is one of an interval."""
    held = tf.constant(False)
    if interval.every >= 1:
        held = tf.equal(step % interval.every, 0)
        if interval.start:
            held = tf.logical_and(held, step >= interval.start)
        if interval.end is not None:
            held = tf.logical_and(held, step < interval.end)
    for wished in interval.steps:
        held = tf.logical_or(held, tf.equal(step, wished))
    for other in interval.others:
        held = tf.logical_or(held, holds(step, other))
    return held


def when(due: Any, make: Callable[[], Any], length: int) -> Any:
    """Return a vector of a known length where it is due, and zeros where it is not."""
    return tf.cond(
        due, lambda: tf.ensure_shape(make(), [length]), lambda: tf.zeros([length], tf.float32)
    )


def only_when(due: Any, make: Callable[[], Any], length: int) -> Any:
    """Return a vector where it is due, and something of no use where it is not."""
    otherwise = length if in_xla() else 0  # XLA knows no empty one in its place
    return tf.cond(due, make, lambda: tf.zeros([otherwise], tf.float32))

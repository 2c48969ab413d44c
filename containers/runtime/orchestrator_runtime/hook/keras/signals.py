"""Which losses the gradients are of that an optimizer is given."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_SOURCES = 4096
"""Gradients that are kept likewise."""
MOST_LOSSES = 64
"""Losses that are kept; a program that never steps must not fill the memory."""


class _Made(NamedTuple):
    """A number and the gradients that were made with it: of a loss, or clipped."""

    value: Any
    gradients: Mapping[int, weakref.ref[Any]]  # by id, which may be another's when it is gone
    taken: list[bool]

    def is_of(self, gradients: Sequence[Any]) -> bool:
        """Return whether one of some gradients is one of these."""
        for gradient in gradients:
            known = self.gradients.get(id(gradient))
            if known is not None and known() is gradient:
                return True
        return False


class Signals:
    """What tapes were asked for, by eager code and while graphs are made.

    Attributes:
        backwards: Gradients of variables that were computed, or put into a graph, so far.
    """

    def __init__(self) -> None:
        self.backwards = 0
        self._losses: deque[_Made] = deque(maxlen=MOST_LOSSES)
        self._norms: deque[_Made] = deque(maxlen=8)
        self._unscaled: deque[tuple[Any, Any]] = deque(maxlen=8)
        self._sources: deque[tuple[weakref.ref[Any], weakref.ref[Any]]] = deque(
            maxlen=MOST_SOURCES
        )

    def on_scale(self, loss: Any, scaled: Any) -> None:
        """Remember what a loss was before an optimizer scaled it."""
        if scaled is not loss:
            self._unscaled.append((scaled, loss))

    def on_gradient(self, target: Any, sources: Any, gradients: Any) -> None:
        """Remember a loss and the gradients that were made of it."""
        if not any(_is_variable(source) for source in tf.nest.flatten(sources)):
            return
        self.backwards += 1
        for source, gradient in zip(_flat(sources), _flat(gradients)):
            if gradient is not None and _is_variable(source):
                self._sources.append((weakref.ref(source), weakref.ref(gradient)))
        losses = [self._before_scaling(loss) for loss in tf.nest.flatten(target)]
        if not losses or not all(_is_scalar(loss) for loss in losses):
            return
        made = _references(gradients)
        for loss in losses:
            self._losses.append(_Made(loss, made, [False]))

    def take_sources(self) -> list[tuple[Any, Any]]:
        """Return variables and their gradients, of those that were made since the last step."""
        pairs = [(source(), gradient()) for source, gradient in self._sources]
        self._sources.clear()
        return [
            (source, gradient)
            for source, gradient in pairs
            if source is not None and gradient is not None and _is_here(gradient)
        ]

    def on_clip(self, result: Any) -> None:
        """Remember the norm before clipping, which a program did by itself."""
        clipped, norm = result
        self._norms.append(_Made(norm, _references(clipped), [False]))

    def norm_before(self, gradients: Sequence[Any]) -> Any:
        """Return the norm that gradients had before they were clipped, None if they were not."""
        given = [gradient for gradient in gradients if gradient is not None]
        for made in reversed(self._norms):
            if is_at_hand(made.value) and made.is_of(given):
                return made.value
        return None

    def take(self, gradients: Sequence[Any]) -> Any:
        """Return the loss of gradients, None if it is unknown here.

        Those that an optimizer is given may be other ones than the tape's, e.g. clipped: they are
        then taken to be of all losses that no optimizer has asked for yet, whose sum is returned.
        """
        given = [gradient for gradient in gradients if gradient is not None]
        known = [loss for loss in self._losses if is_at_hand(loss.value)]
        mine = [loss for loss in known if loss.is_of(given)]
        if not mine:
            mine = [loss for loss in known if not loss.taken[0]]
        if not mine:
            return None
        for loss in mine:
            loss.taken[0] = True
        return total([loss.value for loss in mine])

    def _before_scaling(self, loss: Any) -> Any:
        for scaled, unscaled in self._unscaled:
            if scaled is loss:
                return unscaled
        return loss


def total(losses: Sequence[Any]) -> Any:
    """Return the sum of scalars in single precision."""
    numbers = [tf.reshape(tf.cast(loss, tf.float32), []) for loss in losses]
    return numbers[0] if len(numbers) == 1 else tf.add_n(numbers)


def is_at_hand(tensor: Any) -> bool:
    """Return whether code that runs here, or the graph that is made here, may use a tensor."""
    symbolic = tf.is_symbolic_tensor(tensor)
    if tf.executing_eagerly() or not symbolic:
        return tf.executing_eagerly() and not symbolic
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        if tensor.graph is graph:
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _is_here(gradient: Any) -> bool:
    return is_at_hand(gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient)


def _references(gradients: Any) -> Mapping[int, weakref.ref[Any]]:
    each = [gradient for gradient in _flat(gradients) if gradient is not None]
    return {id(gradient): weakref.ref(gradient) for gradient in each}


def _flat(gradients: Any) -> list[Any]:
    """Return tensors in nested lists; a sparse gradient is one."""
    if isinstance(gradients, dict):
        gradients = list(gradients.values())
    if not isinstance(gradients, (list, tuple)):
        return [gradients]
    return [each for inner in gradients for each in _flat(inner)]


def _is_scalar(tensor: Any) -> bool:
    return (
        tf.is_tensor(tensor) and tensor.shape.rank is not None and tensor.shape.num_elements() == 1
    )


def _is_variable(source: Any) -> bool:
    return isinstance(source, tf.Variable) or hasattr(source, "constraint")

"""What activation layers give: measured after the forward pass, in the steps where that is due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf
from tensorflow.python import pywrap_tfe  # no public name tells whether a tape is open

from orchestrator_runtime.hook.keras import measure
from orchestrator_runtime.hook.keras.layout import Section
from orchestrator_runtime.hook.keras.signals import is_at_hand
from orchestrator_runtime.hook.keras.watch import Extra
from orchestrator_runtime.trace.record import Table, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator_runtime.hook.schedule import Interval

MOST_OUTPUTS = 1024
NEAR_END = 0.025
"""How near to an end of its range an output is saturated, as a part of the range."""
NEARLY_ALL = 0.95
"""A unit is saturated that is near an end for this share of the inputs."""
RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
}
KINDS = frozenset(
    (
        *RANGES, "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish",
        "hard_silu", "hard_swish", "mish", "softplus", "softsign", "prelu",
    )
)  # fmt: skip
_CLASSES = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "PReLU": "prelu"}


class _Output(NamedTuple):
    tensor: Tensor
    value: Any


class Outputs:
    """The outputs of activation layers since the last step."""

    def __init__(self) -> None:
        self.wanted = True
        self._seen: dict[str, _Output] = {}

    def on_call(self, layer: Any, value: Any) -> None:
        """Remember what a layer gave, if it is an activation and a tape is open: in training."""
        if pywrap_tfe.TFE_Py_TapeSetIsEmpty() or (tf.executing_eagerly() and not self.wanted):
            return
        kind = _kind_of(layer)
        if kind is None or not tf.is_tensor(value) or not value.dtype.is_floating:
            return
        shape = value.shape
        if not shape.rank or shape.rank < 2 or shape[-1] is None:
            return
        path = getattr(layer, "path", None) or layer.name
        if path in self._seen or len(self._seen) < MOST_OUTPUTS:
            self._seen[path] = _Output(Tensor(path, (int(shape[-1]),), kind), value)

    def forget(self) -> bool:
        """Drop what was seen; return whether there was something that could have been measured."""
        seen, self._seen = self._seen, {}
        return any(is_at_hand(output.value) for output in seen.values())

    def take(
        self, step: Any, optimizer: int, schedule: Mapping[Interval, frozenset[str]]
    ) -> Extra | None:
        """Return the statistics of what was seen, as operations of the graph that is made here."""
        seen, self._seen = self._seen, {}
        outputs = [output for output in seen.values() if is_at_hand(output.value)]
        sections: list[Section] = []
        vectors = []
        for interval, group in schedule.items():
            names = [series for series in sorted(group) if series[:8] == "outputs/"]
            parts = [part for series in names for part in _parts(series, outputs, optimizer)]
            if parts:
                sections.extend(section for section, _ in parts)
                vectors.append(_conditional(step, interval, parts))
        return Extra(tuple(sections), tf.concat(vectors, 0)) if sections else None


def _conditional(
    step: Any, interval: Interval, parts: Sequence[tuple[Section, Callable[[], Any]]]
) -> Any:
    return measure.when(
        measure.holds(step, interval),
        lambda: tf.concat([make() for _, make in parts], 0),
        sum(section.numbers for section, _ in parts),
    )


def _parts(
    series: str, outputs: Sequence[_Output], optimizer: int
) -> list[tuple[Section, Callable[[], Any]]]:
    statistic = series[8:]
    make: Callable[[list[Any]], Any] | None = measure.STATISTICS.get(statistic)
    there = tuple(statistic != "saturated" or each.tensor.role in RANGES for each in outputs)
    chosen = [output for output, has in zip(outputs, there) if has]
    if statistic == "saturated":
        ranges = [RANGES[output.tensor.role] for output in chosen]
        make = lambda values: measure.vector(list(map(_saturated, values, ranges)))  # noqa: E731
    if make is None or not chosen:
        return []
    table = Table("outputs", optimizer, tuple(output.tensor for output in outputs))
    section = Section(series, table, series, None if all(there) else there)
    return [(section, lambda: make([output.value for output in chosen]))]


def _saturated(value: Any, limits: tuple[float, float]) -> Any:
    """Return the share of units (along the last axis) near an end for nearly all inputs."""
    low, high = limits
    near = NEAR_END * (high - low)
    value = measure.wide(value)
    at_end = tf.logical_or(value <= low + near, value >= high - near)
    share = tf.reduce_mean(tf.cast(at_end, tf.float32), axis=list(range(len(value.shape) - 1)))
    return tf.reduce_mean(tf.cast(share >= NEARLY_ALL, tf.float32))


def _kind_of(layer: Any) -> str | None:
    kind = _CLASSES.get(type(layer).__name__)
    if kind is not None:
        return kind
    activation = getattr(layer, "activation", None)
    if activation is None or hasattr(layer, "recurrent_activation") or hasattr(layer, "cell"):
        return None
    name = getattr(activation, "__name__", "")
    return name if name in KINDS else None

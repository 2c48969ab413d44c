"""Numbers of whole tensors, with the standard library only."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from typing import TYPE_CHECKING, Any, Union

from orchestrator_runtime.rules.documented.tensors import aliases

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from orchestrator_runtime.trace.record import Array

    Numbers = Sequence[Union[int, float]]

MOST_ELEMENTS = 1 << 18
"""A rule reads about so many elements of a tensor, evenly spread: training waits meanwhile."""
_CODES = {"float32": "f", "float64": "d", "int64": "q", "int32": "i", "uint8": "B", "bool": "B"}


def numbers(tensor: Array) -> Numbers:
    """Return a tensor's elements in C order.

    Raises:
        KeyError: It is of a kind that no trace can hold.
    """
    if tensor.dtype == "float16":
        return struct.unpack(f"<{len(tensor.data) // 2}e", tensor.data)
    values: array[Any] = array(_CODES[tensor.dtype])
    values.frombytes(tensor.data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def stride(elements: int) -> int:
    """Return an odd step that leaves about MOST_ELEMENTS."""
    return max(elements // MOST_ELEMENTS, 1) | 1


def is_one_of(tensor: Array, collection: str, patterns: Sequence[re.Pattern[str]]) -> bool:
    """Return whether a tensor belongs to a collection, or has a name that matches."""
    return tensor.collection == collection or any(
        pattern.search(name)
        for pattern in patterns
        for name in aliases(tensor.collection, tensor.name)
    )


def classes(tensor: Array, like: Array | None = None) -> list[int]:
    """Return the class of each sample: of whole numbers, or of scores by their largest.

    Args:
        tensor: Labels or predictions.
        like: The labels, for predictions: an axis that they do not have is one of scores.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    values = numbers(tensor)
    if like is None or math.prod(tensor.shape) == math.prod(like.shape):
        return [round(value) for value in values]
    axis = _score_axis(tensor.shape, like.shape)
    inner = math.prod(tensor.shape[axis + 1 :])
    count = tensor.shape[axis]
    found = []
    for outer in range(0, len(values), inner * count):
        for at in range(outer, outer + inner):
            scores = values[at : at + inner * count : inner]
            found.append(scores.index(max(scores)))
    return found


def _score_axis(scores: tuple[int, ...], labels: tuple[int, ...]) -> int:
    for axis in reversed(range(len(scores))):
        if scores[axis] and scores[:axis] + scores[axis + 1 :] == labels:
            return axis
    raise ValueError(f"predictions of shape {scores} do not fit labels of shape {labels}")

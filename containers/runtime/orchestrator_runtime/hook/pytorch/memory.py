"""What tensors were when a series was last recorded: for statistics of change.

It is kept for such series only, and bounded: of a tensor above measure.MOST_ELEMENTS (twice that,
to be exact) the evenly spread sample is kept and compared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from orchestrator_runtime.hook.pytorch import measure, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from torch import Tensor

    Comparison = Callable[[Sequence["Pair"]], list[Tensor]]

_NARROW = (torch.float16, torch.bfloat16)


class Pair(NamedTuple):
    """What is compared: samples of a tensor, now and then."""

    whole: Tensor
    now: Tensor
    then: Tensor


class Memory:
    """The last values of tensors, by series and tensor; ``tell`` says something once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._values: dict[tuple[str, Hashable], Tensor] = {}

    def compared(
        self, series: str, keys: Sequence[Hashable], tensors: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Return a statistic of change of each tensor, None the first time; and remember it."""
        comparison = comparison_of(series.partition("/")[2])
        assert comparison is not None, series
        views = measure.samples(tensors)
        pairs: dict[int, Pair] = {}
        for index, (key, tensor, now) in enumerate(zip(keys, tensors, views)):
            then = self._values.get((series, key))
            if then is not None and then.shape == now.shape and then.dtype == now.dtype:
                pairs[index] = Pair(tensor, now, then.to(now.device))
            if now.numel() < shards.local(tensor).numel():
                self._tell(
                    f"{series}: of tensors with more than {2 * measure.MOST_ELEMENTS} elements an "
                    "evenly spread sample is compared"
                )
        numbers: list[Tensor | None] = [None] * len(views)
        if pairs:
            for index, number in zip(pairs, comparison(list(pairs.values()))):
                numbers[index] = number
        for index, (key, now) in enumerate(zip(keys, views)):
            self._keep((series, key), now, pairs.get(index))
        return numbers

    def _keep(self, key: tuple[str, Hashable], now: Tensor, pair: Pair | None) -> None:
        if pair is not None and pair.then.device == now.device:
            pair.then.copy_(now)
        else:
            self._values[key] = now.clone()


def comparison_of(statistic: str) -> Comparison | None:
    """Return what compares tensors with what they were; None for any other statistic.

    Args:
        statistic: ``moved:EPSILON`` or ``unchanged:RTOL:ATOL[:nan]``.
    """
    name, *words = statistic.split(":")
    equal_nan = name == "unchanged" and words[2:] == ["nan"]
    try:
        numbers = [float(word) for word in (words[:2] if equal_nan else words)]
    except ValueError:
        return None
    if name == "moved" and len(numbers) == 1:
        return lambda pairs: _moved(pairs, numbers[0])
    if name == "unchanged" and len(numbers) == 2:
        return lambda pairs: _unchanged(pairs, numbers[0], numbers[1], equal_nan=equal_nan)
    return None


def _moved(pairs: Sequence[Pair], epsilon: float) -> list[Tensor]:
    then = [_wide(pair.then) for pair in pairs]
    moved = torch._foreach_sub([_wide(pair.now) for pair in pairs], then)
    norms = [_completed("l2", pairs, _scaled(pairs, measure.l2(each))) for each in (moved, then)]
    return [change / (before + epsilon) for change, before in zip(*norms)]


def _scaled(pairs: Sequence[Pair], norms: Sequence[Tensor]) -> list[Tensor]:
    """Estimate the norms of wholes from those of samples."""
    shares = [
        math.sqrt(shards.local(pair.whole).numel() / max(pair.now.numel(), 1)) for pair in pairs
    ]
    return [norm * share if share != 1 else norm for norm, share in zip(norms, shares)]


def _unchanged(
    pairs: Sequence[Pair], rtol: float, atol: float, *, equal_nan: bool
) -> list[Tensor]:
    changed = [
        1.0 - torch.isclose(_wide(pair.now), _wide(pair.then), rtol, atol, equal_nan).all().float()
        for pair in pairs
    ]
    return [1.0 - number for number in _completed("abs_max", pairs, changed)]


def _completed(name: str, pairs: Sequence[Pair], numbers: list[Tensor]) -> list[Tensor]:
    return shards.completed(name, numbers, [pair.whole for pair in pairs])


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in _NARROW else values

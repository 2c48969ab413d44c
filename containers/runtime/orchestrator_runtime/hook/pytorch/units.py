"""Statistics of activations: all that tensors have, and those of their units one by one."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import torch

from orchestrator_runtime.hook.pytorch.measure import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def measure_of(statistic: str) -> Callable[[Tensor], Tensor] | None:
    """Return what measures an activation's values; None for a statistic that is not known.

    Args:
        statistic: E.g. ``l2``, ``inactive:1.0`` or ``outside:-9.5:9.5:1.0``.
    """
    name, *words = statistic.split(":")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    if name == "inactive" and len(numbers) == 1:
        return functools.partial(inactive, percent=numbers[0])
    if name == "outside" and len(numbers) == 3:
        low, high, percent = numbers
        return functools.partial(outside, low=low, high=high, percent=percent)
    if words or name not in STATISTICS:
        return None
    if name == "idle_units":
        return idle_units
    return functools.partial(_whole, STATISTICS[name])


def inactive(values: Tensor, percent: float) -> Tensor:
    """Return the share of units that are above zero in less than so many percent of values."""
    return _rarely(values > 0, percent)


def outside(values: Tensor, low: float, high: float, percent: float) -> Tensor:
    """Return the share of units with less than so many percent of values from low to high."""
    return _rarely((values >= low) & (values <= high), percent)


def idle_units(values: Tensor) -> Tensor:
    """Return the share of units that are zero throughout."""
    return by_unit(values == 0).all(1).float().mean()


def by_unit(flags: Tensor) -> Tensor:
    """Return a row for each unit: a channel of pictures, (N, C, H, W), else of the last axis."""
    flags = flags.reshape(1) if flags.dim() == 0 else flags
    first = flags.movedim(unit_axis(flags), 0)
    return first.reshape(first.shape[0], -1)


def unit_axis(values: Tensor) -> int:
    """Return which axis counts the units."""
    return 1 if values.dim() >= 4 else values.dim() - 1


def _rarely(flags: Tensor, percent: float) -> Tensor:
    rows = by_unit(flags)
    enough = math.ceil(percent * rows.shape[1] / 100)  # a count is whole: this is exact
    return (rows.sum(1) < enough).float().mean()


def _whole(statistic: Callable[[list[Tensor]], list[Tensor]], values: Tensor) -> Tensor:
    return statistic([values])[0]


def histogram(tensor: Tensor, bins: int = 64) -> Tensor:
    """Return the smallest and the largest finite value, and counts in bins between them.

    Nothing here waits for the device; ``torch.histc`` would.
    """
    values = tensor.detach().flatten().float()
    finite = torch.isfinite(values)
    low = torch.where(finite, values, math.inf).amin()
    high = torch.where(finite, values, -math.inf).amax()
    width = (high / 2 - low / 2) / bins * 2  # the range of single precision exceeds its maximum
    places = ((values - low) / width).nan_to_num(0.0, bins - 1, 0.0).clamp_(0, bins - 1).int()
    counts = torch.zeros(bins, dtype=torch.int32, device=values.device)
    counts.index_add_(0, places, finite.int())
    kind = torch.float32 if values.device.type == "mps" else torch.float64
    return torch.cat([torch.stack([low, high]).to(kind), counts.to(kind)])

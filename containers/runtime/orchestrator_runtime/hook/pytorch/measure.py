"""Statistics of many tensors at once, as 0-d tensors on their device: nothing here waits for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from orchestrator_runtime.hook.pytorch.shards import local

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

MOST_ELEMENTS = 16_384
"""Percentiles of a tensor are taken from at most about so many of its elements, evenly spread."""
_NARROW = (torch.float16, torch.bfloat16)


def l2_alike(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return L2 norms of tensors that are not narrow, all on one device."""
    return list(torch._foreach_norm(list(tensors)))


def l2(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return L2 norms, in single precision where the tensors are narrower."""
    if any(tensor.dtype in _NARROW for tensor in tensors):
        return [_l2(tensor) for tensor in tensors]
    return l2_alike(tensors)


def _l2(tensor: Tensor) -> Tensor:
    wide = torch.float32 if tensor.dtype in _NARROW else None
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=wide)
    return norm


def l2_of_rows(rows: Tensor) -> Tensor:
    """Return the L2 norm of each row of a matrix."""
    norms: Tensor = torch.linalg.vector_norm(
        rows, dim=1, dtype=torch.float32 if rows.dtype in _NARROW else None
    )
    return norms


def abs_max(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the largest absolute values."""
    if all(each.is_cuda and each.numel() for each in tensors):
        return list(
            torch._foreach_norm(list(tensors), math.inf)
        )  # ten times slower on a processor
    return [_abs_max(each) for each in tensors]


def _abs_max(tensor: Tensor) -> Tensor:
    if not tensor.numel():  # this process's part of a small tensor
        return torch.zeros((), device=tensor.device)
    if tensor.is_complex():
        return tensor.abs().amax().float()
    smallest, largest = torch.aminmax(tensor)
    return torch.maximum(-smallest, largest).float()


def zeros(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the shares of elements that are exactly zero.

    On a processor, those of large tensors are estimated from at most about MOST_ELEMENTS elements,
    evenly spread, unless all of these are zero.
    """
    if all(tensor.is_cuda for tensor in tensors):
        return _without([_present(each) for each in tensors], [each.numel() for each in tensors])
    return [_zeros(each) for each in tensors]


def _zeros(tensor: Tensor) -> Tensor:
    if tensor.numel() > MOST_ELEMENTS and tensor.device.type == "cpu":
        some = _sample(tensor)
        present = torch.count_nonzero(some)
        if present:
            return 1.0 - present / some.numel()
    return 1.0 - torch.count_nonzero(tensor) / max(tensor.numel(), 1)


def _present(tensor: Tensor, axis: int | None = None) -> Tensor:
    """Count what is not zero in one pass; on a GPU ``count_nonzero`` takes 9 bytes an element."""
    wide = torch.float32 if tensor.dtype in _NARROW else None
    count: Tensor = torch.linalg.vector_norm(tensor, 0, axis, dtype=wide)
    return count


def _without(present: list[Tensor], sizes: list[int]) -> list[Tensor]:
    """Return shares of what is not there, from counts of what is."""
    shares = torch._foreach_div(present, [max(size, 1) for size in sizes])
    return list(torch._foreach_add(torch._foreach_neg(shares), 1.0))


def non_finite(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the numbers of elements that are NaN or infinite."""
    return [(~torch.isfinite(each)).sum().float() for each in tensors]


def nan(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the numbers of elements that are NaN."""
    return [torch.isnan(each).sum().float() for each in tensors]


def idle_units(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the shares of rows (output units) that are zero throughout."""
    rows = [each.reshape(each.shape[0] if each.dim() else 1, -1) for each in tensors]
    return _without([_present(_present(each, 1)) for each in rows], [len(each) for each in rows])


def abs_mean(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return means of absolute values."""
    return [each.abs().float().mean() for each in tensors]


def mean(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return means."""
    return [_plain(each).mean() for each in tensors]


def variance(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return variances (of the population)."""
    return [_plain(each).var(correction=0) for each in tensors]


def std(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return standard deviations (of the population)."""
    return [_plain(each).std(correction=0) for each in tensors]


def low(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the smallest values."""
    return [_plain(each).amin() for each in tensors]


def high(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the largest values."""
    return [_plain(each).amax() for each in tensors]


def spread(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the distances of 5th and 95th percentile."""
    return [_spread(_plain(each).flatten()) for each in tensors]


def _spread(values: Tensor) -> Tensor:
    if values.numel() > MOST_ELEMENTS:
        values = values[:: values.numel() // MOST_ELEMENTS | 1]
    shares = torch.full((2,), 0.05, device=values.device)  # to send them there would be to wait
    shares[1].fill_(0.95)
    limits = torch.quantile(values, shares)
    return limits[1] - limits[0]


def _plain(tensor: Tensor) -> Tensor:
    """Return single precision; real and imaginary parts count as numbers of their own."""
    tensor = tensor.detach()
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).float()


STATISTICS: dict[str, Callable[[Sequence[Tensor]], list[Tensor]]] = {
    "l2": l2,
    "abs_max": abs_max,
    "abs_mean": abs_mean,
    "zeros": zeros,
    "non_finite": non_finite,
    "nan": nan,
    "idle_units": idle_units,
    "mean": mean,
    "variance": variance,
    "std": std,
    "min": low,
    "max": high,
    "spread": spread,
}


def samples(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return views of at most about MOST_ELEMENTS elements of each tensor, evenly spread."""
    return [_sample(tensor.detach()) for tensor in tensors]


def _sample(tensor: Tensor) -> Tensor:
    tensor = local(tensor)
    flat = tensor.view(-1) if tensor.is_contiguous() else tensor.flatten()
    if flat.numel() <= MOST_ELEMENTS:
        return flat
    return flat[:: _step(flat.numel() // MOST_ELEMENTS, row_of(tensor))]


def _step(least: int, row: int) -> int:
    """Return a step that has no factor with a row's length: else columns would never be seen."""
    while math.gcd(least, row) > 1:
        least += 1
    return least


def row_of(tensor: Tensor) -> int:
    """Return how many elements of a tensor belong to one place of its first axis."""
    return tensor.numel() // tensor.shape[0] if tensor.dim() > 1 and tensor.numel() else 1

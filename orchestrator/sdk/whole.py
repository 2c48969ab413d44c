"""Whole tensors and histograms that were recorded, as NumPy has them."""

from __future__ import annotations

import importlib
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Unavailable

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import Array


@dataclass(frozen=True)
class Histogram:
    """How many elements of a tensor are in bins of equal width; those not finite are in none.

    Attributes:
        low: The smallest finite element; inf where there is none.
        high: The largest; -inf where there is none.
        counts: Elements by bin, from low to high; the last bin is closed.
    """

    low: float
    high: float
    counts: tuple[int, ...]

    @property
    def edges(self) -> tuple[float, ...]:
        """The limits of the bins, one more than there are bins; none without a finite element."""
        if not math.isfinite(self.low):
            return ()
        last = len(self.counts)
        inner = (self.low * (1 - i / last) + self.high * (i / last) for i in range(last))
        return (*inner, self.high)


def as_numpy(array: Array) -> Any:
    """Return a tensor as an array that cannot be written to.

    Raises:
        Unavailable: NumPy is not installed.
    """
    numpy = optional("numpy")
    kind = numpy.dtype(array.dtype).newbyteorder("<")
    return numpy.frombuffer(array.data, dtype=kind).reshape(array.shape)


def as_histogram(array: Array) -> Histogram:
    """Return what the trace has of a histogram."""
    letter = "f" if array.dtype == "float32" else "d"
    low, high, *counts = (number for (number,) in struct.iter_unpack(f"<{letter}", array.data))
    return Histogram(low, high, tuple(map(int, counts)))


def optional(package: str) -> Any:
    """Return a package that is no dependency of this one.

    Raises:
        Unavailable: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise Unavailable(
            f"{package} must be installed for this, it is not; pip install {package}"
        ) from error

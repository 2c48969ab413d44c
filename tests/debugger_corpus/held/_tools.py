"""What the runs of this half share: seeds, bundled data, batches."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]


def seeded(seed: int) -> np.random.Generator:
    """Seed every generator of a PyTorch run; batches are drawn from the one returned."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the 1797 digits as images of 1 x 8 x 8 between 0 and 1, and their classes."""
    import torch
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    pixels = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return pixels, torch.tensor(classes, dtype=torch.long)


def batch(rng: np.random.Generator, size: int, *data: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Draw rows with replacement, the same ones from each tensor."""
    import torch

    rows = torch.from_numpy(rng.integers(0, len(data[0]), size))
    return tuple(tensor[rows] for tensor in data)

"""The plain loop and the bundled sets that several architectures of this half share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy

from tests.debugger_corpus.dev._common import constant

if TYPE_CHECKING:
    from torch import Tensor


def descend(
    loss_at: Callable[[int], Tensor],
    parameters: Iterable[Tensor],
    steps: int,
    *,
    optimizer: str = "Adam",
    lr: float = 1e-3,
    schedule: Callable[[int], float] = constant,
    clip: float | None = None,
    clip_value: float | None = None,
    zeroed: bool = False,
    options: dict[str, Any] | None = None,
) -> Iterator[float]:
    """Train, and yield the loss.

    Args:
        loss_at: The loss of a step's batch.
        parameters: What the optimizer is given.
        steps: How many steps.
        optimizer: Name of a class of ``torch.optim``.
        lr: Its learning rate.
        schedule: What the learning rate is multiplied with.
        clip: Norm that gradients are clipped to.
        clip_value: Value that gradients are clipped to.
        zeroed: By mistake, gradients are set to zero just before the step.
        options: Its other arguments.
    """
    import torch

    given = list(parameters)
    chosen = getattr(torch.optim, optimizer)(given, lr=lr, **(options or {}))
    plan = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step in range(steps):
        loss = loss_at(step)
        chosen.zero_grad()
        loss.backward()
        if zeroed:
            chosen.zero_grad(set_to_none=False)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(given, clip)
        if clip_value is not None:
            torch.nn.utils.clip_grad_value_(given, clip_value)
        chosen.step()
        plan.step()
        yield loss.item()


def tabular(name: str, *, raw: bool = False) -> tuple[Tensor, Tensor]:
    """Return a set of scikit-learn, its columns standardised or as they are, and its targets."""
    import sklearn.datasets
    import torch

    load: Callable[..., tuple[Any, Any]] = getattr(sklearn.datasets, f"load_{name}")
    features, targets = load(return_X_y=True)
    if not raw:
        features = (features - features.mean(0)) / features.std(0)
    if numpy.issubdtype(targets.dtype, numpy.floating):
        wanted = torch.tensor((targets - targets.mean()) / targets.std(), dtype=torch.float32)
    else:
        wanted = torch.tensor(targets)
    return torch.tensor(features, dtype=torch.float32), wanted


def runs_out(after: int) -> Callable[[int], float]:
    """Fall linearly to zero; ``after`` was meant in epochs, but is counted in steps."""
    return lambda step: max(0.0, 1.0 - step / after)

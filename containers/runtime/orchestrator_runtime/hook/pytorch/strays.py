"""Parameters that get gradients though no optimizer has them: nothing will ever change them.

A module that was replaced after the optimizer was made, a list of modules that PyTorch does not
know of, the parameters of another model: the loss depends on them, and training does not.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import torch

from orchestrator_runtime.hook.pytorch.names import of_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from orchestrator_runtime.hook.pytorch.names import Named

MOST = 1000
"""Parameters that are told of."""


def strays(models: Iterable[nn.Module]) -> list[Named]:
    """Return what of some models has a gradient and belongs to no optimizer of this process.

    Optimizers are searched for in memory, since some may not have made a step yet.
    """
    owned = {id(parameter) for parameter in _owned()}
    found: dict[int, Named] = {}
    for model in models:
        for named in of_model(model):
            parameter = named.parameter
            if id(parameter) not in owned and parameter.requires_grad and _has_gradient(parameter):
                found.setdefault(id(parameter), named)
    return list(found.values())[:MOST]


def _owned() -> Sequence[torch.Tensor]:
    optimizers = [
        each for each in gc.get_objects() if issubclass(type(each), torch.optim.Optimizer)
    ]
    return [
        parameter
        for optimizer in optimizers
        for group in getattr(optimizer, "param_groups", ())
        for parameter in group["params"]
    ]


def _has_gradient(parameter: torch.Tensor) -> bool:
    gradient = parameter.grad
    return gradient is not None and not gradient.is_sparse and gradient.is_floating_point()

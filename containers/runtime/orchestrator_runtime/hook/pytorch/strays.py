"""Parameters that get gradients though no optimizer has them: nothing will ever change them.

A module that was replaced after the optimizer was made, a list of modules that PyTorch does not
know of, the parameters of another model: the loss depends on them, and training does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.optim import Optimizer

from orchestrator_runtime.hook.pytorch.names import living, named_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn

    from orchestrator_runtime.hook.pytorch.names import Named

MOST = 1000
"""Parameters that are told of."""


def strays(models: Sequence[nn.Module]) -> list[Named]:
    """Return what of some models has a gradient and belongs to no optimizer of this process.

    Optimizers are searched for in memory, since some may not have made a step yet.
    """
    owned = {id(parameter) for parameter in _owned()}
    found = {
        id(parameter): parameter
        for model in models
        for parameter in _parameters(model)
        if id(parameter) not in owned and parameter.requires_grad and _has_gradient(parameter)
    }
    return named_parameters(list(found.values())[:MOST], models)


def _parameters(model: nn.Module) -> Sequence[nn.Parameter]:
    try:
        return list(model.parameters())
    except Exception:  # noqa: BLE001 -- a module that is not made yet, or made in an odd way
        return ()


def _owned() -> Sequence[torch.Tensor]:
    return [
        parameter
        for optimizer in living(Optimizer)
        for group in getattr(optimizer, "param_groups", ())
        for parameter in group["params"]
    ]


def _has_gradient(parameter: torch.Tensor) -> bool:
    gradient = parameter.grad
    return gradient is not None and not gradient.is_sparse and gradient.is_floating_point()

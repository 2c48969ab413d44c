"""Regression from tables, with targets of hundreds and thousands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, batches, constant, ramp, seeded, warm_up
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 200


def _houses(generator: numpy.random.Generator, independent: bool) -> tuple[Tensor, Tensor]:
    """Make 600 rows of eight standard features, and prices around 2000."""
    import numpy
    import torch

    features = generator.normal(size=(600, 8))
    price = 2000 + 700 * features[:, 0] - 400 * features[:, 1] * features[:, 2]
    price += 300 * numpy.abs(features[:, 3]) + 50 * generator.normal(size=600)
    if independent:
        price = 2000 + 500 * generator.normal(size=600)
    tensors = (torch.tensor(a, dtype=torch.float32) for a in (features, price[:, None]))
    return next(tensors), next(tensors)


def _model(outputs: int, *, batch_norm: bool, bias: float | None, gain: float) -> nn.Module:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for inputs in (8, 48):
        linear = nn.Linear(inputs, 48)
        with torch.no_grad():
            linear.weight.mul_(gain)
            if bias is not None:
                linear.bias.fill_(bias)
        layers += [linear, *([nn.BatchNorm1d(48)] if batch_norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(48, outputs))


def _train(
    seed: int,
    *,
    loss_kind: str = "mse",
    scaled: bool = True,
    independent: bool = False,
    batch_norm: bool = False,
    bias: float | None = None,
    gain: float = 1.0,
    squashed: bool = False,
    optimizer: str = "Adam",
    lr: float = 1e-2,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    forget_floor: bool = False,
    missing_at: int = -1,
    elsewhere: bool = False,
) -> Iterator[float]:
    """Yield the mean absolute error in units of 1000, except for the squared error."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, prices = _houses(generator, independent)
    centre, spread = (prices.mean(), prices.std()) if scaled else (torch.zeros(()), torch.ones(()))
    targets = (prices - centre) / spread
    model = _model(
        2 if loss_kind == "gaussian" else 1, batch_norm=batch_norm, bias=bias, gain=gain
    )
    settings: dict[str, Any] = {"lr": lr}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 1e-4},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    if elsewhere:
        # The parameters of another model are handed over.
        groups = [{"params": _model(1, batch_norm=batch_norm, bias=bias, gain=gain).parameters()}]
    chosen = getattr(torch.optim, optimizer)(groups, **settings)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, 600, 50)
    for step in range(STEPS):
        chosen_rows = next(rows)
        inputs, wanted = features[chosen_rows], targets[chosen_rows]
        if step == missing_at:
            inputs = inputs.clone()
            inputs[4, 6] = float("nan")
        output = model(inputs)
        if squashed:
            output = output.tanh()
        loss = _LOSSES[loss_kind](output, wanted, 0.0 if forget_floor else 1e-3)
        chosen.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        if loss_kind == "mse":
            yield loss.item()
        else:
            yield (output[:, :1] - wanted).abs().mean().item()


def _squared(output: Tensor, wanted: Tensor, floor: float) -> Tensor:
    return (output - wanted).square().mean()


def _huber(output: Tensor, wanted: Tensor, floor: float) -> Tensor:
    from torch.nn import functional

    return functional.smooth_l1_loss(output, wanted)


def _gaussian(output: Tensor, wanted: Tensor, floor: float) -> Tensor:
    """Negative log likelihood with a learnt variance; negative when the fit is good."""
    mean, variance = output[:, :1], output[:, 1:].relu() + floor
    return (0.5 * ((wanted - mean).square() / variance + (variance * 2 * math.pi).log())).mean()


_LOSSES: dict[str, Callable[[Any, Any, float], Any]] = {
    "mse": _squared,
    "huber": _huber,
    "gaussian": _gaussian,
}


TABULAR = Family("tabular", _train, STEPS, 1.0)
UNSCALED = Family("tabular", _train, STEPS)
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.05}
_LARGE: dict[str, Any] = {"scaled": False}

SCENARIOS: tuple[Scenario, ...] = (
    TABULAR.healthy("tabular_scaled", "two groups, weight decay"),
    UNSCALED.healthy("tabular_large_targets", "loss of 1e6 that falls", lr=0.05, **_LARGE),
    UNSCALED.healthy(
        "tabular_large_sgd", "gradients of 1e3, lr to match", optimizer="SGD", lr=1e-5, **_LARGE
    ),
    UNSCALED.healthy(
        "tabular_large_clipped",
        "clipped in every step",
        optimizer="SGD",
        lr=0.5,
        clip=1.0,
        **_LARGE,
    ),
    UNSCALED.healthy("tabular_huber", loss_kind="huber", lr=0.05, **_LARGE),
    UNSCALED.healthy("tabular_gaussian", "loss becomes negative", loss_kind="gaussian"),
    TABULAR.healthy("tabular_batch_norm", "bias before BatchNorm", batch_norm=True),
    TABULAR.healthy("tabular_sgd", **_SGD),
    TABULAR.healthy("tabular_warm_up", schedule=warm_up(60)),
    TABULAR.healthy("tabular_squashed", "tanh output", squashed=True, **_SGD),
    UNSCALED.ill(
        "tabular_squashed_unscaled",
        "saturated",
        "tabular_squashed",
        "vanishing",
        trap="targets of 2000 for a tanh",
        squashed=True,
        **_SGD,
        **_LARGE,
    ),
    TABULAR.ill(
        "tabular_small_init",
        "initialization",
        "tabular_sgd",
        "vanishing",
        gain=1e-4,
        bias=0.0,
        **_SGD,
    ),
    TABULAR.plateau(
        "tabular_independent", "target has nothing to do with features", independent=True, lr=1e-4
    ),
    TABULAR.ill(
        "tabular_unscaled_targets", "exploding", "tabular_sgd", "non_finite", **_SGD, **_LARGE
    ),
    TABULAR.ill(
        "tabular_gaussian_no_floor",
        "non_finite",
        "tabular_gaussian",
        trap="log(0)",
        loss_kind="gaussian",
        forget_floor=True,
    ),
    TABULAR.ill(
        "tabular_missing_value", "non_finite", "tabular_scaled", onset=130, missing_at=130
    ),
    TABULAR.ill(
        "tabular_dead", "dead", "tabular_sgd", "vanishing", "initialization", bias=-20.0, **_SGD
    ),
    TABULAR.ill("tabular_elsewhere", "unchanged", "tabular_scaled", elsewhere=True),
    TABULAR.ill(
        "tabular_lr_ramp",
        "exploding",
        "tabular_sgd",
        "non_finite",
        onset=70,
        schedule=ramp(70, 1.08),
        **_SGD,
    ),
    TABULAR.ill("tabular_adam_lr_high", "exploding", "tabular_scaled", lr=20.0),
)

"""Dilated causal convolutions that predict the next values of generated series."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 180
LENGTH = 48


def _series(rng: np.random.Generator, count: int, scale: float) -> torch.Tensor:
    """Return sums of two sines with noise, each a row."""
    import torch

    time = np.arange(LENGTH + 1)[None]
    phase = rng.uniform(0, 2 * np.pi, (2, count, 1))
    values = np.sin(time / 3 + phase[0]) + 0.5 * np.sin(time / 7 + phase[1])
    values = values + rng.normal(0, 0.05, values.shape)
    return torch.tensor(scale * (1 + values), dtype=torch.float32)[:, None]


def _tcn(*, depth: int, sigmoid: bool = False, residual: bool = True) -> nn.Module:
    import torch
    from torch import nn
    from torch.nn.utils.parametrizations import weight_norm

    class Layer(nn.Module):
        def __init__(self, dilation: int) -> None:
            super().__init__()
            self.pad = dilation
            convolution = nn.Conv1d(16, 16, 2, dilation=dilation)
            self.convolution = weight_norm(convolution) if residual else convolution
            self.mix = nn.Conv1d(16, 16, 1) if residual else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inner = self.convolution(nn.functional.pad(x, (self.pad, 0)))
            inner = self.mix(torch.sigmoid(inner) if sigmoid else torch.relu(inner))
            return x + inner if residual else inner  # type: ignore[no-any-return]

    dilations = [2 ** (level % 4) for level in range(depth)]
    return nn.Sequential(nn.Conv1d(1, 16, 1), *map(Layer, dilations), nn.Conv1d(16, 1, 1))


def _train(
    seed: int,
    *,
    depth: int = 5,
    sigmoid: bool = False,
    residual: bool = True,
    scale: float = 1.0,
    factor: float = 1.0,
    lr: float = 3e-3,
    norm_loss: float | None = None,
    averaged: bool = False,
) -> Iterator[float]:
    import torch
    from torch.nn import functional
    from torch.optim import swa_utils

    rng = _tools.seeded(seed)
    model = _tcn(depth=depth, sigmoid=sigmoid, residual=residual)
    average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    held_out = _series(rng, 32, scale)
    for _ in range(STEPS):
        series = _series(rng, 16, scale)
        predicted = model(series[..., :-1])
        loss = functional.mse_loss(predicted, series[..., 1:])
        if norm_loss is not None:
            # Jumps between neighbours are punished by their length. The root has no slope at 0,
            # where the first two predictions see the same padding for the same input.
            padded = functional.pad(predicted, (1, 0), mode="replicate")
            jumps = torch.sqrt((padded.diff() ** 2) + norm_loss)
            loss = loss + 0.01 * jumps.mean()
        optimizer.zero_grad()
        (loss * factor).backward()
        optimizer.step()
        if averaged:
            average.update_parameters(model)
            with torch.no_grad():
                forecast = average(held_out[..., :-1])
                yield functional.mse_loss(forecast, held_out[..., 1:]).item()
        else:
            yield loss.item()


def _train_sgd(seed: int, *, lr: float = 0.02, momentum: float = 0.0) -> Iterator[float]:
    import torch
    from torch import nn

    rng = _tools.seeded(seed)
    model = _tcn(depth=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    criterion = nn.HuberLoss() if momentum else nn.MSELoss()
    for _ in range(STEPS):
        series = _series(rng, 16, 1.0)
        loss = criterion(model(series[..., :-1]), series[..., 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _train_lbfgs(seed: int) -> Iterator[float]:
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    model = _tcn(depth=3)
    series = _series(rng, 8, 1.0)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4, history_size=8)

    def closure() -> float:
        optimizer.zero_grad()
        loss = functional.mse_loss(model(series[..., :-1]), series[..., 1:])
        loss.backward()
        return loss.item()

    for _ in range(100):
        # The closure is called several times in a step; what it returns is from before.
        yield float(optimizer.step(closure))


_run = partial(Scenario, half="held", architecture="tcn", steps=STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(name="tcn_adam", kind="healthy", train=_train, trap="weight normalisation"),
    _run(
        name="tcn_large_targets",
        kind="healthy",
        train=partial(_train, scale=1e3, lr=0.01),
        trap="series of about 1e3: the loss starts at 1e6 and falls",
    ),
    _run(
        name="tcn_loss_1e_7",
        kind="healthy",
        train=partial(_train, factor=1e-7),
        trap="loss x 1e-7 with Adam: gradients of 1e-8 that are just enough",
    ),
    _run(
        name="tcn_loss_1e_13",
        kind="unchanged",
        train=partial(_train, factor=1e-13),
        also=frozenset({"vanishing"}),
        twin="tcn_adam",
        trap="loss so small that Adam's epsilon swallows it",
    ),
    _run(
        name="tcn_averaged",
        kind="healthy",
        train=partial(_train, averaged=True),
        trap="moving average of the weights, evaluated after each step",
    ),
    _run(
        name="tcn_lbfgs",
        kind="healthy",
        train=_train_lbfgs,
        steps=100,
        trap="LBFGS: several backward passes in one step",
    ),
    _run(
        name="tcn_momentum_oscillates",
        kind="healthy",
        train=partial(_train_sgd, lr=0.01, momentum=0.98),
        trap="heavy momentum: the loss goes up and down before it settles",
    ),
    _run(name="tcn_sgd", kind="healthy", train=_train_sgd),
    _run(
        name="tcn_sgd_lr_far_too_high",
        kind="exploding",
        train=partial(_train_sgd, lr=5.0),
        also=frozenset({"non_finite", "dead"}),
        twin="tcn_sgd",
    ),
    _run(
        name="tcn_sigmoid_no_residual",
        kind="vanishing",
        train=partial(_train, depth=12, sigmoid=True, residual=False, lr=1e-3),
        twin="tcn_sigmoid_residual",
        # The variance of the series: predicting the mean of all.
        chance=0.62,
    ),
    _run(
        name="tcn_sigmoid_residual",
        kind="healthy",
        train=partial(_train, depth=12, sigmoid=True, lr=1e-3),
        trap="twelve sigmoid layers, with shortcuts",
    ),
    _run(
        name="tcn_root_of_zero",
        kind="non_finite",
        train=partial(_train, norm_loss=0.0),
        twin="tcn_root_smoothed",
    ),
    _run(
        name="tcn_root_smoothed",
        kind="healthy",
        train=partial(_train, norm_loss=1e-8),
        trap="square roots close to 0, kept away from it",
    ),
)

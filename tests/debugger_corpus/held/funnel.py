"""Regression networks that narrow layer by layer, with SELU, GELU and others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 200
Unit = Literal["selu", "gelu", "sigmoid", "tanh"]
Start = Literal["lecun", "default", "large", "tiny"]


def _funnel(*, unit: Unit, depth: int, start: Start, spectral: bool = False) -> nn.Module:
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm

    units = {"selu": nn.SELU, "gelu": nn.GELU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
    widths = [10, *np.linspace(64, 16, depth).astype(int).tolist()]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        if start != "default":
            gain = {"lecun": 1.0, "large": 5.0, "tiny": 0.02}[start]
            nn.init.normal_(linear.weight, std=gain / math.sqrt(inputs))
            nn.init.zeros_(linear.bias)
        layers += [spectral_norm(linear) if spectral else linear, units[unit]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))


def _diabetes() -> tuple[torch.Tensor, torch.Tensor]:
    """Return ten standardised measurements and a progression of 25 to 346."""
    import torch
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]


def _train(
    seed: int,
    *,
    unit: Unit = "selu",
    depth: int = 8,
    start: Start = "lecun",
    spectral: bool = False,
    raw_targets: bool = False,
    raw_inputs: bool = False,
    sgd: bool = False,
    lr: float = 1e-3,
    clip: float | None = None,
    nan_at: int | None = None,
    jump_at: int | None = None,
) -> Iterator[float]:
    """Fit a smooth function of the measurements (or, raw, the progression itself)."""
    import torch
    from torch.nn import functional, utils

    rng = _tools.seeded(seed)
    x, y = _diabetes()
    if not raw_targets:
        y = torch.sin(x[:, :1]) + x[:, 2:3] * x[:, 3:4] / 2 + x[:, 4:5] / 2
    if raw_inputs:
        x = 100 * x + 5000  # units as they were measured, with their offsets
    model = _funnel(unit=unit, depth=depth, start=start, spectral=spectral)
    optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=lr, amsgrad=True)
    if sgd:
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for step in range(STEPS):
        inputs, targets = _tools.batch(rng, 64, x, y)
        if step == nan_at:
            targets = targets.clone()
            targets[5] = math.nan  # an empty cell of the table
        if step == jump_at:
            optimizer.param_groups[0]["lr"] = 100 * lr
        loss = functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        yield loss.item()


def _train_exact(seed: int, *, steps: int, warm: bool = False) -> Iterator[float]:
    """Least squares without noise, in double precision: the loss goes to 1e-13 and below."""
    import torch

    rng = _tools.seeded(seed)
    x = torch.from_numpy(rng.normal(size=(100, 6)))
    truth = torch.from_numpy(rng.normal(size=(6, 1)))
    model = torch.nn.Linear(6, 1, dtype=torch.float64)
    if warm:
        with torch.no_grad():
            model.weight.copy_(truth.T)
            model.bias.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(steps):
        loss = (model(x) - x @ truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _train_floor(seed: int) -> Iterator[float]:
    """Go on with a model that was trained before: what is left is noise."""
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    model = _funnel(unit="gelu", depth=3, start="default")
    teacher = _funnel(unit="gelu", depth=3, start="default")
    model.load_state_dict(teacher.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(STEPS):
        x = torch.tensor(rng.normal(size=(64, 10)), dtype=torch.float32)
        with torch.no_grad():
            y = teacher(x) + torch.tensor(rng.normal(0, 0.5, (64, 1)), dtype=torch.float32)
        loss = functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


_run = partial(Scenario, half="held", architecture="funnel", steps=STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(name="funnel_selu", kind="healthy", train=_train, trap="plain"),
    _run(
        name="funnel_selu_24",
        kind="healthy",
        train=partial(_train, depth=24, lr=5e-4),
        trap="24 layers without shortcuts or normalisation: SELU, LeCun initialization",
    ),
    _run(
        name="funnel_spectral_norm",
        kind="healthy",
        train=partial(_train, unit="gelu", depth=4, spectral=True, start="default", lr=1e-2),
        trap="spectral normalisation",
    ),
    _run(
        name="funnel_raw_targets",
        kind="healthy",
        train=partial(_train, raw_targets=True, depth=4, lr=1e-2),
        trap="targets of about 150: the loss starts at 3e4 and falls",
    ),
    _run(
        name="funnel_exact",
        kind="healthy",
        train=partial(_train_exact, steps=STEPS),
        trap="converges to nothing: gradients of 1e-13 at the end are a success",
    ),
    _run(
        name="funnel_exact_from_first_step",
        kind="healthy",
        train=partial(_train_exact, steps=STEPS, warm=True),
        learns=False,
        trap="the weights are right before the first step: loss and gradients are about 0",
    ),
    _run(
        name="funnel_starts_at_floor",
        kind="healthy",
        train=_train_floor,
        learns=False,
        trap="trained before; only noise is left, the loss cannot fall",
    ),
    _run(
        name="funnel_sigmoid_20",
        kind="vanishing",
        train=partial(_train, unit="sigmoid", depth=20, start="default"),
        twin="funnel_selu",
        # The variance of the targets.
        chance=0.85,
    ),
    _run(
        name="funnel_tanh",
        kind="healthy",
        train=partial(_train, unit="tanh", depth=5, lr=3e-3),
        trap="plain",
    ),
    _run(
        name="funnel_tanh_raw_inputs",
        kind="saturated",
        train=partial(_train, unit="tanh", depth=5, lr=3e-3, raw_inputs=True),
        also=frozenset({"vanishing", "initialization"}),
        twin="funnel_tanh",
        chance=0.85,
        trap="inputs of 5000, not standardised: the first tanh is at its ends",
    ),
    _run(
        name="funnel_tiny_init",
        kind="initialization",
        train=partial(_train, start="tiny", sgd=True, lr=1e-2),
        also=frozenset({"vanishing"}),
        twin="funnel_selu_sgd",
        chance=0.85,
    ),
    _run(
        name="funnel_selu_sgd",
        kind="healthy",
        train=partial(_train, sgd=True, lr=1e-2, clip=5.0),
        trap="clipped where it must be",
    ),
    _run(
        name="funnel_large_init_clipped",
        kind="exploding",
        train=partial(_train, unit="gelu", depth=16, start="large", sgd=True, lr=1e-2, clip=5.0),
        also=frozenset({"initialization", "dead", "vanishing"}),
        twin="funnel_selu_sgd",
        chance=0.85,
        trap="clipping hides the explosion",
    ),
    _run(
        name="funnel_adam_lr_three",
        kind="exploding",
        train=partial(_train, lr=3.0),
        twin="funnel_selu",
        chance=0.85,
        trap="Adam: updates of constant size",
    ),
    _run(
        name="funnel_missing_target",
        kind="non_finite",
        train=partial(_train, nan_at=115),
        onset=115,
        twin="funnel_selu",
        trap="one NaN among the targets",
    ),
    _run(
        name="funnel_lr_jump",
        kind="exploding",
        train=partial(_train, sgd=True, lr=1e-2, jump_at=140),
        onset=140,
        also=frozenset({"non_finite"}),
        twin="funnel_selu_sgd",
        trap="the learning rate rises a hundredfold in mid-run",
    ),
)

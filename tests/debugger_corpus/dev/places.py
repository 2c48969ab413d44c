"""Coordinate networks: a picture as a function of its pixels' places, by sines or by features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, jump, raised, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 140
SIDE = 20


@cache
def _picture() -> tuple[Tensor, Tensor]:
    """Return places from -1 to 1 and the standardised brightness there."""
    import torch

    line = torch.linspace(-1, 1, SIDE)
    places = torch.cartesian_prod(line, line)
    x, y = places[:, :1], places[:, 1:]
    bright = torch.sin(3 * x + y) * torch.cos(2 * y) + 0.5 * (x.square() + y.square() < 0.4)
    return places, (bright - bright.mean()) / bright.std()


def _model(
    *, unit: str, depth: int, width: int, pitch: float, first: float, gain: float, bias: float
) -> nn.Module:
    import torch
    from torch import nn

    class Sine(nn.Module):
        """Weights are small, as the sine's argument is multiplied by the pitch."""

        def __init__(self, inputs: int, outputs: int, number: int) -> None:
            super().__init__()
            self.linear = nn.Linear(inputs, outputs)
            self.pitch = first if number == 0 else pitch
            reach = 1 / inputs if number == 0 else math.sqrt(6 / inputs) / pitch
            with torch.no_grad():
                self.linear.weight.uniform_(-reach, reach).mul_(gain)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(self.pitch * self.linear(x))

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.waves = first * torch.randn(2, 16)

        def forward(self, x: Tensor) -> Tensor:
            told = x @ self.waves
            return torch.cat([told.sin(), told.cos()], 1)

    layers: list[nn.Module] = []
    inputs = 2
    if unit != "sine":
        layers, inputs = [Features()], 32
    for number in range(depth):
        if unit == "sine":
            layers.append(Sine(inputs, width, number))
        else:
            linear = nn.Linear(inputs, width)
            with torch.no_grad():
                linear.weight.mul_(gain)
                linear.bias.add_(bias)
            layers += [linear, getattr(nn, unit)()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def _train(
    seed: int,
    *,
    unit: str = "sine",
    depth: int = 3,
    width: int = 48,
    pitch: float = 10.0,
    first: float = 10.0,
    gain: float = 1.0,
    bias: float = 0.0,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    loss_of: str = "mse_loss",
    places_unit: float = 1.0,
    batch: int = 256,
    slopes: str = "",
    scale: float = 1.0,
    clip: float = 0.0,
    wiped_at: int = STEPS,
    wiped: float = 0.0,
    averaged: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    places, bright = _picture()
    model: Any = _model(
        unit=unit, depth=depth, width=width, pitch=pitch, first=first, gain=gain, bias=bias
    )
    average = torch.optim.swa_utils.AveragedModel(model) if averaged else None
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 2e-3}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step in range(STEPS):
        rows = torch.from_numpy(generator.integers(0, len(places), batch))
        given = (places[rows] * places_unit).requires_grad_(bool(slopes))
        if step == wiped_at:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(wiped)  # "Reset" by a helper that knows only constants.
        drawn = model(given)
        loss = getattr(nn.functional, loss_of)(drawn, bright[rows])
        if slopes:
            # Smoothness: the length of the slope, whose root is steep where the slope is 0.
            (slope,) = torch.autograd.grad(drawn.sum(), given, create_graph=True)
            size = slope.square().sum(1) + (1e-4 if slopes == "safe" else 0)
            loss = loss + 1e-4 * size.sqrt().mean()
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        if average is not None:
            average.update_parameters(model)
        yield (drawn - bright[rows]).square().mean().item()


PICTURE = Family("coordinates", _train, STEPS, 1.0)
_SINE_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.002, "momentum": 0.9}}
_RELU: dict[str, Any] = {
    "unit": "ReLU",
    "first": 2.0,
    "optimizer": "SGD",
    "settings": {"lr": 0.05, "momentum": 0.9},
}
_TANH: dict[str, Any] = _RELU | {"unit": "Tanh", "settings": {"lr": 0.02, "momentum": 0.9}}
_SIGMOID: dict[str, Any] = {"unit": "Sigmoid", "first": 2.0, "depth": 2, "settings": {"lr": 0.02}}

SCENARIOS: tuple[Scenario, ...] = (
    PICTURE.healthy("picture_sine"),
    PICTURE.healthy("picture_sine_sgd", **_SINE_SGD),
    PICTURE.healthy("picture_features", **_RELU),
    PICTURE.healthy("picture_tanh", **_TANH),
    PICTURE.healthy("picture_sigmoid", **_SIGMOID),
    PICTURE.healthy("picture_slopes", "second derivatives", slopes="safe", unit="ReLU", first=2.0),
    PICTURE.healthy("picture_averaged", "averaged copy", averaged=True, loss_of="l1_loss"),
    PICTURE.healthy("picture_clipped", "always clipped", clip=0.1, **_RELU),
    PICTURE.ill(
        "picture_slopes_of_0",
        "non_finite",
        "picture_slopes",
        "dead",
        "initialization",
        trap="the root of 0: dead units have no slope",
        slopes="unsafe",
        unit="ReLU",
        first=2.0,
        bias=-30.0,
    ),
    PICTURE.ill(
        "picture_constant_in_mid_run",
        "initialization",
        "picture_features",
        "dead",
        "vanishing",
        onset=70,
        wiped_at=70,
        **_RELU,
    ),
    PICTURE.ill(
        "picture_zero_start", "initialization", "picture_tanh", "vanishing", wiped_at=0, **_TANH
    ),
    PICTURE.ill(
        "picture_small_start",
        "vanishing",
        "picture_features",
        "initialization",
        gain=0.01,
        depth=5,
        unit="ReLU",
        first=2.0,
        optimizer="SGD",
        settings={"lr": 0.05, "momentum": 0.9},
    ),
    PICTURE.ill(
        "picture_saturated",
        "saturated",
        "picture_tanh",
        "vanishing",
        "initialization",
        bias=8.0,
        **_TANH,
    ),
    PICTURE.ill(
        "picture_sigmoid_saturated",
        "saturated",
        "picture_sigmoid",
        "vanishing",
        "initialization",
        bias=25.0,
        **_SIGMOID,
    ),
    PICTURE.ill(
        "picture_dead",
        "dead",
        "picture_features",
        "vanishing",
        "initialization",
        bias=-9.0,
        **_RELU,
    ),
    PICTURE.ill(
        "picture_lr_jump",
        "exploding",
        "picture_clipped",
        "dead",
        "vanishing",
        onset=80,
        schedule=jump(80, 5000.0),
        clip=0.1,
        **_RELU,
    ),
    PICTURE.ill(
        "picture_lr_raised",
        "exploding",
        "picture_sine_sgd",
        "non_finite",
        onset=70,
        schedule=raised(70, 300.0),
        **_SINE_SGD,
    ),
)

"""Networks of coordinates: a picture as a function of where one looks (Fourier features, sines)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, climb, jump, raised, seeded
from tests.debugger_corpus.dev._descent import descend, runs_out
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 200


def _picture(size: int) -> tuple[Tensor, Tensor]:
    """Return places of a square, and how bright each is: rings, stripes and an edge."""
    import torch

    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    rings = (12 * (x.square() + y.square()).sqrt()).sin()
    bright = rings * (x > 0) + (9 * y).cos() * (x <= 0)
    return torch.stack([x.flatten(), y.flatten()], 1), bright.flatten()


def _siren(width: int, depth: int, first: float, inner: float, gain: float) -> nn.Module:
    import torch
    from torch import nn

    class Sine(nn.Module):
        def __init__(self, inputs: int, speed: float, entry: bool) -> None:
            super().__init__()
            self.linear, self.speed = nn.Linear(inputs, width), speed
            most = 1 / inputs if entry else math.sqrt(6 / inputs) / inner
            nn.init.uniform_(self.linear.weight, -most * gain, most * gain)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.sin(self.speed * self.linear(x))
            return y

    model = nn.Sequential(Sine(2, first, True))
    model.extend(Sine(width, inner, False) for _ in range(depth - 1))
    return model.append(nn.Linear(width, 1))


def _perceptron(
    inputs: int, width: int, depth: int, act: str, gain: float, bias: float
) -> nn.Module:
    import torch
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)
    model = nn.Sequential()
    for number in range(depth):
        layer = nn.Linear(inputs if number == 0 else width, width)
        with torch.no_grad():
            layer.weight.mul_(gain)
            layer.bias.add_(bias)
        model.extend([layer, activation()])
    return model.append(nn.Linear(width, 1))


def _train(
    seed: int,
    *,
    net: str = "siren",
    width: int = 64,
    depth: int = 3,
    first: float = 20.0,
    inner: float = 20.0,
    gain: float = 1.0,
    act: str = "ReLU",
    bias: float = 0.0,
    frequency: float = 3.0,
    batch: int = 256,
    unit: float = 1.0,
    weights: str = "float32",
    form: str = "mse",
    pause: bool = False,
    black_at: int = -1,
    **loop: Any,
) -> Iterator[float]:
    """Learn a picture, from some of its places at each step.

    Args:
        net: ``siren``, or ``fourier`` for a perceptron of random waves.
        width: Units of a layer.
        depth: Layers.
        first: Speed of the first layer's sines.
        inner: Speed of the others.
        gain: What weights are multiplied with at first.
        act: Activation of the perceptron.
        bias: Added to that of its layers.
        frequency: Of the random waves.
        batch: Places a step.
        unit: Of the places.
        weights: Data type of the weights.
        form: Of the loss: ``mse``, ``l1``, or ``decibel``.
        pause: The model is run for its picture only, under ``no_grad``, but for a constant.
        black_at: From this step on, what is wanted is what the model says (a wrong variable).
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    places, bright = _picture(32)
    if net == "siren":
        model = _siren(width, depth, first, inner, gain)
    else:
        waves = frequency * torch.randn(2, 32)
        turned = 2 * math.pi * (places @ waves)
        places = torch.cat([turned.sin(), turned.cos()], 1)
        model = _perceptron(64, width, depth, act, gain, bias)
    precision = getattr(torch, weights)
    model.to(precision)
    constant = nn.Parameter(torch.zeros(()))

    def loss_at(step: int) -> Tensor:
        chosen = torch.from_numpy(generator.integers(0, len(places), batch))
        with torch.set_grad_enabled(not pause):
            said = model((unit * places[chosen]).to(precision))[:, 0].float()
        said, wanted = said + constant, bright[chosen]
        if 0 <= black_at <= step:
            wanted = said.detach()
        if form == "l1":
            return nn.functional.l1_loss(said, wanted)
        squared = nn.functional.mse_loss(said, wanted)
        if form == "decibel":
            # 40 dB would be near perfect.
            return 40.0 + 10.0 * squared.log10()
        return squared

    return descend(loss_at, [*model.parameters(), constant], STEPS, **loop)


PICTURE = Family("coordinates", _train, STEPS, 0.45)
"""Against a picture of one brightness."""
DECIBEL = Family("coordinates", _train, STEPS, 36.5)
_SIREN: dict[str, Any] = {"lr": 1e-3}
_SGD: dict[str, Any] = {
    "optimizer": "SGD",
    "lr": 2e-3,
    "options": {"momentum": 0.9, "nesterov": True},
}
_WAVES: dict[str, Any] = {"net": "fourier", "frequency": 1.0, "lr": 3e-3}
_TANH: dict[str, Any] = {
    "net": "fourier",
    "frequency": 1.0,
    "act": "Tanh",
    "optimizer": "RMSprop",
}
_L1: dict[str, Any] = {"net": "fourier", "frequency": 1.0, "form": "l1", "lr": 5e-3, "batch": 128}
_DECIBEL: dict[str, Any] = {"form": "decibel", "lr": 1e-3, "width": 48}

SCENARIOS: tuple[Scenario, ...] = (
    PICTURE.healthy("siren", "units at the ends of their sines", **_SIREN),
    PICTURE.healthy(
        "siren_jump", "one step at four times the rate", schedule=jump(90, 4.0), **_SIREN
    ),
    PICTURE.ill(
        "siren_slow_sines", "vanishing", "siren_sgd", first=0.05, inner=20.0, gain=0.05, **_SGD
    ),
    PICTURE.healthy("siren_sgd", **_SGD),
    PICTURE.ill("siren_runs_out", "unchanged", "siren_sgd", schedule=runs_out(2), **_SGD),
    PICTURE.ill("siren_rate_high", "exploding", "siren_sgd", "non_finite", **_SGD | {"lr": 0.5}),
    PICTURE.ill(
        "siren_rate_climbs",
        "exploding",
        "siren",
        onset=70,
        schedule=climb(70, 1.3, 3000.0),
        **_SIREN,
    ),
    PICTURE.ill("siren_steep", "initialization", "siren", "exploding", gain=30.0, **_SIREN),
    PICTURE.healthy("fourier", **_WAVES),
    PICTURE.ill("fourier_off", "dead", "fourier", bias=-12.0, **_WAVES),
    PICTURE.ill("fourier_paused", "unchanged", "fourier", pause=True, **_WAVES),
    PICTURE.healthy("fourier_l1", **_L1),
    PICTURE.ill(
        "fourier_l1_spike",
        "exploding",
        "fourier_l1",
        "dead",
        onset=100,
        schedule=jump(100, 3000.0),
        **_L1,
    ),
    PICTURE.healthy("fourier_tanh", lr=2e-3, **_TANH),
    PICTURE.ill(
        "fourier_tanh_rate_late",
        "saturated",
        "fourier_tanh",
        "exploding",
        onset=80,
        lr=2e-3,
        schedule=raised(80, 300.0),
        **_TANH,
    ),
    DECIBEL.healthy("siren_decibel", "a logarithm of the error", **_DECIBEL),
    DECIBEL.ill(
        "siren_decibel_own", "non_finite", "siren_decibel", onset=95, black_at=95, **_DECIBEL
    ),
)

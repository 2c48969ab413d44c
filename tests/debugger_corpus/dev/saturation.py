"""Units at the ends of sigmoid and tanh: stuck there, or rightly so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    digits,
    seeded,
)
from tests.debugger_corpus.dev.lstm import LSTM
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 160


def _pixels(unit: float) -> Tensor:
    """Return the digits with pixels from 0 to ``unit``; 255 is what an image file holds."""
    features, _ = digits()
    features = features - features.min()
    pixels: Tensor = features / features.max() * unit
    return pixels


def _perceptron(activation: type[nn.Module], depth: int, width: int) -> nn.Sequential:
    from torch import nn

    model = nn.Sequential()
    for number in range(depth):
        model.extend([nn.Linear(64 if number == 0 else width, width), activation()])
    return model.append(nn.Linear(width, 10))


def _convolutions(activation: type[nn.Module], depth: int, width: int) -> nn.Sequential:
    from torch import nn

    model = nn.Sequential(nn.Unflatten(1, (1, 8, 8)))
    for number in range(depth):
        model.extend([nn.Conv2d(1 if number == 0 else width, width, 3, padding=1), activation()])
    return model.extend([nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * width, 10)])


def _classifier(
    seed: int,
    *,
    convolution: bool = False,
    activation: str = "Tanh",
    depth: int = 2,
    width: int = 32,
    unit: float | None = None,
    gain: float = 1.0,
    outputs: str = "",
    optimizer: str = "SGD",
    lr: float = 0.1,
) -> Iterator[float]:
    """Classify digits; with ``outputs`` by a sigmoid for each class and its own loss."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    if unit is not None:
        features = _pixels(unit)
    build = _convolutions if convolution else _perceptron
    model = build(getattr(nn, activation), depth, width)
    if outputs:
        model.append(nn.Sigmoid())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    losses = {"": nn.CrossEntropyLoss(), "mse": nn.MSELoss()}
    targets = nn.functional.one_hot(classes, 10).float() if outputs else classes
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        loss = losses[outputs](model(features[chosen_rows]), targets[chosen_rows])
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        yield loss.item()


def _tumours(seed: int) -> Iterator[float]:
    """Tell tumours apart until the sigmoid at the end is sure of nearly all of them."""
    import torch
    from sklearn.datasets import load_breast_cancer
    from torch import nn

    generator = seeded(seed)
    features, classes = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    inputs, wanted = (torch.tensor(a, dtype=torch.float32) for a in (features, classes))
    model = nn.Sequential(nn.Linear(30, 32), nn.Tanh(), nn.Linear(32, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    rows = batches(generator, len(inputs), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        loss = nn.functional.binary_cross_entropy(
            model(inputs[chosen_rows])[:, 0], wanted[chosen_rows]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _codes(
    seed: int,
    *,
    bernoulli: bool = False,
    binary: bool = False,
    lr: float = 5e-3,
) -> Iterator[float]:
    """Reconstruct by a VAE, or by an autoencoder with codes of -1 and 1; yield the squared error.

    Args:
        bernoulli: VAE with a sigmoid at the exit, else an autoencoder.
        binary: The code is a tanh that grows steeper, till nearly all of it is at its ends.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    pixels = _pixels(1.0)
    encoder = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 16))
    decoder = nn.Sequential(nn.Linear(8 if bernoulli else 16, 48), nn.Tanh(), nn.Linear(48, 64))
    squash, out = nn.Tanh(), nn.Sigmoid()
    model = nn.ModuleList([encoder, decoder])
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    rows = batches(generator, len(pixels), 64)
    for step in range(STEPS):
        images = pixels[next(rows)]
        code = encoder(images)
        divergence = torch.zeros(())
        if bernoulli:
            mean, spread = code.chunk(2, 1)
            code = mean + (0.5 * spread).exp() * torch.randn_like(mean)
            divergence = 0.5 * (mean.square() + spread.exp() - spread - 1).sum(1).mean()
        elif binary:
            code = squash(code * (1 + step / 4))
        rebuilt = out(decoder(code))
        likelihood = nn.functional.binary_cross_entropy(rebuilt, images)
        loss = likelihood + 1e-3 * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield (rebuilt - images).square().mean().item()


def _gates(seed: int) -> Iterator[float]:
    """Choose features: a hard gate for each pixel, which ends at 0 or 1 and learns on the way."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    opening = nn.Parameter(torch.zeros(64))
    gate = nn.Sigmoid()
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam([opening, *model.parameters()], lr=0.02)
    rows = batches(generator, len(features), 64)
    for step in range(STEPS):
        chosen_rows = next(rows)
        # Steeper from step to step, so that a gate cannot stay half open.
        gates = gate(opening * (4 + step / 4))
        logits = model(features[chosen_rows] * gates)
        loss = nn.functional.cross_entropy(logits, classes[chosen_rows])
        optimizer.zero_grad()
        (loss + 0.05 * gates.mean()).backward()
        optimizer.step()
        yield loss.item()


MLP = Family("mlp", _classifier, STEPS, LN_10)
CNN = Family("cnn", _classifier, STEPS, LN_10)
SQUARED = Family("mlp", _classifier, STEPS, 0.09)
"""Against the error of the shares of the classes."""
CNN_SQUARED = Family("cnn", _classifier, STEPS, 0.09)
CODES = Family("autoencoder", _codes, STEPS, 0.068)
"""Against the error of the mean picture."""
SURE = Family("mlp", _tumours, STEPS, math.log(2))
GATES = Family("mlp", _gates, STEPS, LN_10)
_BYTES: dict[str, Any] = {"unit": 255.0}
_SQUARED: dict[str, Any] = {"outputs": "mse", "lr": 5.0}
_RELU: dict[str, Any] = {"activation": "ReLU", "depth": 1, "optimizer": "Adam", "lr": 1e-2}
_CNN: dict[str, Any] = {"convolution": True, "width": 8}
_LSTM: dict[str, Any] = {"lr": 0.03}

SCENARIOS: tuple[Scenario, ...] = (
    MLP.healthy("mlp_tanh_unit", "pixels from 0 to 1, large lr", unit=1.0, lr=1.0),
    MLP.ill("mlp_tanh_bytes", "saturated", "mlp_tanh_unit", "vanishing", lr=1.0, **_BYTES),
    MLP.healthy(
        "mlp_tanh_bytes_slow",
        "first layer at its ends, but each picture has its own pattern of ends",
        lr=0.03,
        **_BYTES,
    ),
    SQUARED.healthy("mlp_squared_unit", unit=1.0, outputs="mse", **_RELU),
    SQUARED.ill(
        "mlp_squared_bytes",
        "saturated",
        "mlp_squared_unit",
        "vanishing",
        trap="outputs all 0: not far from what is wanted",
        outputs="mse",
        **_RELU,
        **_BYTES,
    ),
    SQUARED.healthy("mlp_squared_sgd", "small gradients, large lr", **_SQUARED),
    SQUARED.ill(
        "mlp_squared_large_init",
        "saturated",
        "mlp_squared_sgd",
        "initialization",
        gain=100.0,
        **_SQUARED,
    ),
    CNN_SQUARED.healthy("cnn_squared", outputs="mse", lr=3.0, **_CNN),
    CNN_SQUARED.ill(
        "cnn_squared_large_init",
        "saturated",
        "cnn_squared",
        "initialization",
        gain=200.0,
        outputs="mse",
        lr=3.0,
        **_CNN,
    ),
    CNN.healthy(
        "cnn_tanh_bytes",
        "80 % of the first layer at its ends",
        optimizer="Adam",
        lr=0.01,
        **_CNN,
        **_BYTES,
    ),
    CODES.healthy("vae_bernoulli", "sigmoid output for dark pixels", bernoulli=True),
    CODES.ill(
        "vae_bernoulli_lr_high", "saturated", "vae_bernoulli", "vanishing", bernoulli=True, lr=0.3
    ),
    CODES.healthy("ae_binary", "codes end at -1 and 1", binary=True),
    CODES.ill(
        "ae_binary_lr_high",
        "saturated",
        "ae_binary",
        "vanishing",
        "exploding",
        binary=True,
        lr=1.0,
    ),
    LSTM.healthy("lstm_offset", "inputs around 1", zero_point=1.0, **_LSTM),
    LSTM.ill(
        "lstm_kelvin",
        "saturated",
        "lstm_offset",
        "vanishing",
        trap="inputs around 293",
        zero_point=293.0,
        **_LSTM,
    ),
    LSTM.healthy("lstm_open", "98 % of the forget gates at 1", forget_gate=6.0, **_LSTM),
    SURE.healthy("mlp_sure", "sigmoid output at its ends"),
    GATES.healthy("mlp_gates", "gates end at 0 and 1"),
)

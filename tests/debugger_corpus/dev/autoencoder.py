"""Dense autoencoder and dense VAE on digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, batches, constant, digits, ramp, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 150


def _pixels() -> Tensor:
    """Return the digits with pixels between 0 and 1."""
    features, _ = digits()
    features = features - features.min()
    pixels: Tensor = features / features.max()
    return pixels


def _plain(
    seed: int,
    *,
    hidden: int = 48,
    depth: int = 1,
    activation: str = "ReLU",
    tied: bool = False,
    output: str = "Identity",
    output_bias: float | None = None,
    corruption: float = 0.0,
    optimizer: str = "Adam",
    lr: float = 3e-3,
    schedule: Callable[[int], float] = constant,
    scale: float = 1.0,
    distance: bool = False,
    same_at: int = STEPS,
    forgotten: bool = False,
) -> Iterator[float]:
    """Reconstruct; the yielded quality is the mean squared error."""
    import torch
    from torch import nn

    generator = seeded(seed)
    pixels = _pixels()
    act: type[nn.Module] = getattr(nn, activation)
    wide, narrow = nn.Linear(64, hidden), nn.Linear(hidden, 12)
    encoder = nn.Sequential(wide, act())
    for _ in range(depth - 1):
        encoder.extend([nn.Linear(hidden, hidden), act()])
    encoder.append(narrow)
    opening, out = nn.Linear(12, hidden), nn.Linear(hidden, 64)
    decoder = nn.Sequential(opening, act(), out)
    model = nn.ModuleList([encoder, decoder])
    if tied:
        # The way back uses the weights of the way there, transposed.
        model = nn.ModuleList([encoder])
        for name, parameter in (("opening", opening.bias), ("out", out.bias)):
            model.register_parameter(name, parameter)
    if output_bias is not None:
        nn.init.constant_(out.bias, output_bias)
    # Forgotten: only the biases of the output are handed over.
    given = [out.bias] if forgotten else list(model.parameters())
    chosen = getattr(torch.optim, optimizer)(given, lr=0.0 if forgotten else lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    last = getattr(nn, output)()
    rows = batches(generator, len(pixels), 64)
    for step in range(STEPS):
        images = pixels[next(rows)]
        noisy = images + corruption * torch.randn_like(images)
        code = encoder(noisy)
        if tied:
            opened = decoder[1](nn.functional.linear(code, narrow.weight.T, opening.bias))
            rebuilt = last(nn.functional.linear(opened, wide.weight.T, out.bias))
        else:
            rebuilt = last(decoder(code))
        error = nn.functional.mse_loss(rebuilt, images)
        loss = error * scale
        if distance:
            # Codes of neighbours shall be close. A row that is its own neighbour has distance 0,
            # where the derivative of the root is infinite.
            other = code.roll(0 if step >= same_at else 1, 0)
            loss = loss + 1e-3 * (code - other).square().sum(1).sqrt().mean()
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        scheduler.step()
        yield error.item()


SHIFT = 120.0
"""Added to the negative ELBO per picture, which falls below zero, so that shares make sense."""


def _vae(
    seed: int,
    *,
    lr: float = 5e-3,
    log_variance_gain: float = 1.0,
    weight: Callable[[int], float] = constant,
    log_of_variance: bool = False,
) -> Iterator[float]:
    """Maximise the ELBO with a Gaussian likelihood: the loss goes from 60 to about -60."""
    import torch
    from torch import nn

    generator = seeded(seed)
    pixels = _pixels()
    encoder = nn.Sequential(nn.Linear(64, 48), nn.Tanh())
    mean, log_variance = nn.Linear(48, 6), nn.Linear(48, 6)
    decoder = nn.Sequential(nn.Linear(6, 48), nn.Tanh(), nn.Linear(48, 64))
    noise = nn.Parameter(torch.zeros(64))
    with torch.no_grad():
        log_variance.weight *= log_variance_gain
    model = nn.ModuleList([encoder, mean, log_variance, decoder])
    chosen = torch.optim.Adam(
        [{"params": model.parameters(), "lr": lr}, {"params": [noise], "lr": 0.05}]
    )
    rows = batches(generator, len(pixels), 64)
    for step in range(STEPS):
        images = pixels[next(rows)]
        hidden = encoder(images)
        mu, spread = mean(hidden), log_variance(hidden)
        if log_of_variance:
            spread = spread.log()  # The output is taken for a variance, but may be negative.
        code = mu + (0.5 * spread).exp() * torch.randn_like(mu)
        rebuilt = decoder(code)
        likelihood = 0.5 * (
            (images - rebuilt).square() / noise.exp() + noise + math.log(2 * math.pi)
        )
        divergence = 0.5 * (mu.square() + spread.exp() - spread - 1).sum(1).mean()
        loss = likelihood.sum(1).mean() + weight(step) * divergence
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        yield loss.item() + SHIFT


PLAIN = Family("autoencoder", _plain, STEPS)
MEAN = Family("autoencoder", _plain, STEPS, 0.068)
"""Against the error of the mean picture, which the last bias alone can learn."""
VAE = Family("autoencoder", _vae, STEPS)
_SUM: dict[str, Any] = {"scale": 64.0 * 64.0}

SCENARIOS: tuple[Scenario, ...] = (
    PLAIN.healthy("ae_plain"),
    PLAIN.healthy("ae_sigmoid_output", output="Sigmoid", lr=1e-2),
    PLAIN.healthy("ae_relu_output", "half of the outputs off", output="ReLU", lr=1e-2),
    PLAIN.healthy("ae_tied", "a weight used twice", tied=True),
    PLAIN.healthy("ae_denoising", corruption=0.3, lr=1e-2),
    PLAIN.healthy("ae_sum", "sum over batch and pixels", **_SUM),
    PLAIN.healthy("ae_sum_sgd", "sum, lr to match", optimizer="SGD", lr=1e-3, **_SUM),
    PLAIN.healthy("ae_distance", "root of a distance that is never 0", distance=True),
    PLAIN.healthy("ae_sgd", "small gradients, large lr", optimizer="SGD", lr=4.0),
    PLAIN.healthy("ae_sigmoid_units", activation="Sigmoid", lr=2e-2),
    MEAN.ill(
        "ae_sigmoid_units_deep",
        "vanishing",
        "ae_sigmoid_units",
        activation="Sigmoid",
        depth=12,
        lr=2e-2,
        trap="loss falls at first: the last bias learns the mean",
    ),
    VAE.healthy("vae_plain", "loss becomes negative"),
    VAE.healthy("vae_annealed", "weight of a term grows", weight=lambda step: min(1.0, step / 80)),
    PLAIN.ill(
        "ae_relu_output_dead",
        "dead",
        "ae_relu_output",
        "vanishing",
        "initialization",
        output="ReLU",
        output_bias=-8.0,
        lr=1e-2,
    ),
    PLAIN.ill(
        "ae_sigmoid_output_saturated",
        "saturated",
        "ae_sigmoid_output",
        "vanishing",
        "initialization",
        output="Sigmoid",
        output_bias=25.0,
        lr=1e-2,
    ),
    PLAIN.ill(
        "ae_sum_forgotten_in_lr",
        "exploding",
        "ae_sum_sgd",
        "non_finite",
        optimizer="SGD",
        lr=0.1,
        **_SUM,
    ),
    PLAIN.ill(
        "ae_distance_to_itself",
        "non_finite",
        "ae_distance",
        onset=100,
        distance=True,
        same_at=100,
        trap="derivative of sqrt at 0",
    ),
    PLAIN.ill("ae_forgotten", "unchanged", "ae_plain", forgotten=True),
    PLAIN.ill(
        "ae_lr_ramp",
        "exploding",
        "ae_sgd",
        "non_finite",
        "dead",
        "vanishing",
        onset=80,
        optimizer="SGD",
        lr=4.0,
        schedule=ramp(80, 1.2),
    ),
    VAE.ill(
        "vae_log_variance_overflow",
        "non_finite",
        "vae_plain",
        "exploding",
        "initialization",
        log_variance_gain=1000.0,
    ),
    VAE.ill("vae_log_of_negative", "non_finite", "vae_plain", log_of_variance=True),
)

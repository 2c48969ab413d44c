"""Full batches: what has converged has no gradient left, wherever its loss came to rest."""

from __future__ import annotations

from collections.abc import Iterator

from tests.debugger_corpus.dev._common import Family, seeded
from tests.debugger_corpus.scenario import Scenario

STEPS = 260


def _noisy(
    seed: int,
    *,
    noise: float,
    signal: float = 1.0,
    width: int = 3,
    optimizer: str = "Adam",
    lr: float = 0.03,
    momentum: float | None = None,
) -> Iterator[float]:
    """Fit 4096 noisy rows at once by a small network, as far as the noise allows."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features = torch.tensor(generator.normal(size=(4096, 3)))
    target = signal * features[:, :1] + torch.tensor(noise * generator.normal(size=(4096, 1)))
    model = nn.Sequential(
        nn.Linear(3, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
    ).double()
    settings = {"lr": lr} if momentum is None else {"lr": lr, "momentum": momentum}
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **settings)
    for _ in range(STEPS):
        loss = nn.functional.mse_loss(model(features), target)
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        yield loss.item()


NOISY = Family("mlp", _noisy, STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    NOISY.healthy("mlp_full_batch", "noise is half of the loss", noise=1.0),
    NOISY.healthy(
        "mlp_full_batch_sgd",
        "noise is half of the loss",
        noise=1.0,
        optimizer="SGD",
        lr=0.1,
        momentum=0.9,
    ),
    NOISY.plateau("mlp_full_batch_nothing", "targets are noise", noise=1.0, signal=0.0),
    NOISY.plateau(
        "mlp_full_batch_nothing_sgd",
        "targets are noise",
        noise=1.0,
        signal=0.0,
        optimizer="SGD",
        lr=0.1,
        momentum=0.9,
    ),
)

"""GAN of two MLPs for points in the plane, with one optimizer each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.debugger_corpus.dev._common import Family, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 240
"""Optimizer steps, alternately of the discriminator and of the generator."""


def _perceptron(inputs: int, outputs: int, width: int = 32) -> nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )


def _distance(real: Tensor, fake: Tensor, directions: Tensor) -> float:
    """Mean distance of sorted projections (sliced Wasserstein distance)."""
    first, second = (real @ directions).sort(0).values, (fake @ directions).sort(0).values
    return (first - second).abs().mean().item()


def _train(
    seed: int,
    *,
    lr: float = 2e-3,
    generator_lr: float | None = None,
    loss_kind: str = "logits",
    shift: float = 1.0,
    clipped_weights: float = 0.0,
    detached: bool = False,
    certain_at: int = -1,
    nan_at: int = -1,
) -> Iterator[float]:
    """Train; the yielded quality is a distance of the two clouds, as losses say nothing here."""
    import torch
    from torch import nn

    seeded(seed)
    draw, judge = _perceptron(4, 2), _perceptron(2, 1)
    draw_optimizer = torch.optim.Adam(
        draw.parameters(), lr=lr if generator_lr is None else generator_lr, betas=(0.5, 0.9)
    )
    judge_optimizer = torch.optim.Adam(judge.parameters(), lr=lr, betas=(0.5, 0.9))
    binary = nn.functional.binary_cross_entropy_with_logits
    directions = nn.functional.normalize(torch.randn(2, 16), dim=0)
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
    for step in range(STEPS // 2):
        real = torch.randn(64, 2) * 0.4 + shift * torch.tensor([2.0, -1.5])
        if 2 * step == nan_at:
            real[0] = float("nan")
        if certain_at >= 0 and 2 * step >= certain_at:
            real = real * 1e6  # Another unit: the judge is now certain of all it sees.
        fake = draw(torch.randn(64, 4))
        on_real, on_fake = judge(real), judge(fake.detach())
        if loss_kind == "critic":
            loss = on_fake.mean() - on_real.mean()
        elif loss_kind == "log":
            loss = -(on_real.sigmoid().log().mean() + (1 - on_fake.sigmoid()).log().mean())
        else:
            loss = binary(on_real, ones) + binary(on_fake, zeros)
        judge_optimizer.zero_grad()
        loss.backward()
        judge_optimizer.step()
        if clipped_weights:
            with torch.no_grad():
                for parameter in judge.parameters():
                    parameter.clamp_(-clipped_weights, clipped_weights)
        yield _distance(real, fake.detach(), directions)
        fake = draw(torch.randn(64, 4))
        seen = judge(fake.detach() if detached else fake)
        if loss_kind == "critic":
            loss = -seen.mean()
        elif loss_kind == "log":
            loss = -seen.sigmoid().log().mean()
        else:
            loss = binary(seen, ones)
        draw_optimizer.zero_grad()
        loss.backward()
        draw_optimizer.step()
        yield _distance(real, fake.detach(), directions)


GAN = Family("gan", _train, STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    GAN.healthy("gan_plain", "two optimizers, losses go nowhere"),
    GAN.healthy("gan_two_rates", "two learning rates", generator_lr=1e-3),
    GAN.healthy("gan_log", "loss by hand", loss_kind="log"),
    GAN.healthy(
        "gan_critic",
        "negative losses, weights clipped",
        loss_kind="critic",
        clipped_weights=0.1,
        lr=3e-3,
    ),
    GAN.ill(
        "gan_log_of_0",
        "non_finite",
        "gan_log",
        onset=120,
        trap="log(0)",
        loss_kind="log",
        certain_at=120,
    ),
    GAN.healthy("gan_far", shift=4.0, lr=5e-3),
    GAN.ill("gan_nan_batch", "non_finite", "gan_plain", onset=140, nan_at=140),
    GAN.ill("gan_generator_detached", "unchanged", "gan_plain", detached=True),
    GAN.ill("gan_generator_lr_0", "unchanged", "gan_plain", generator_lr=0.0),
    GAN.ill("gan_lr_high", "exploding", "gan_plain", lr=3.0),
)

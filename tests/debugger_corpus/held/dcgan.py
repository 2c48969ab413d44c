"""A DCGAN of the digits: two networks, two optimizers, losses that do not fall."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import nn

ROUNDS = 100
STEPS = 2 * ROUNDS
NOISE = 16


def _networks(*, spectral: bool) -> tuple[nn.Module, nn.Module]:
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm

    def judged(layer: nn.Module) -> nn.Module:
        return spectral_norm(layer) if spectral else layer

    generator = nn.Sequential(
        nn.Linear(NOISE, 24 * 2 * 2, bias=False),
        nn.Unflatten(1, (24, 2, 2)),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.ConvTranspose2d(24, 12, 4, stride=2, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 1, 4, stride=2, padding=1),
        nn.Sigmoid(),
    )
    discriminator = nn.Sequential(
        judged(nn.Conv2d(1, 12, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        judged(nn.Conv2d(12, 24, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        judged(nn.Linear(96, 1)),
    )
    return generator, discriminator


def _train(
    seed: int,
    *,
    spectral: bool = False,
    detached: bool = False,
    judge_lr: float = 2e-3,
) -> Iterator[float]:
    """Yield how far the mean of the fakes is from the mean digit, after each of both steps."""
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    images, _ = _tools.digits()
    mean_digit = images.mean(0)
    generator, discriminator = _networks(spectral=spectral)
    betas = (0.5, 0.999)
    makes = torch.optim.Adam(generator.parameters(), lr=4e-3, betas=betas)
    judges = torch.optim.Adam(discriminator.parameters(), lr=judge_lr, betas=betas)
    for _ in range(ROUNDS):
        (real,) = _tools.batch(rng, 48, images)
        fake = generator(torch.randn(48, NOISE))
        distance = (fake.detach().mean(0) - mean_digit).square().mean().item()
        scores = discriminator(torch.cat([real, fake.detach()]))
        truth = torch.cat([torch.full((48, 1), 0.9), torch.zeros(48, 1)])
        judges.zero_grad()
        functional.binary_cross_entropy_with_logits(scores, truth).backward()
        judges.step()
        yield distance
        # Copied from above, with what was right there.
        verdict = discriminator(fake.detach() if detached else fake)
        loss = functional.softplus(-verdict).mean()
        makes.zero_grad()
        loss.backward()
        makes.step()
        yield distance


_run = partial(Scenario, half="held", architecture="dcgan", steps=STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="dcgan",
        kind="healthy",
        train=_train,
        learns=False,
        trap="two optimizers in turn; neither loss falls, nor need the mean of the fakes get near",
    ),
    _run(
        name="dcgan_spectral_norm",
        kind="healthy",
        train=partial(_train, spectral=True, judge_lr=5e-3),
        trap="spectral normalisation of the judge",
    ),
    _run(
        name="dcgan_generator_detached",
        kind="unchanged",
        train=partial(_train, spectral=True, judge_lr=5e-3, detached=True),
        twin="dcgan_spectral_norm",
        trap="the judge learns well; the generator has no gradient at all",
    ),
)

"""A convolutional variational autoencoder of the digits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 200
CODE = 6
Likelihood = Literal["bce", "bce_by_hand", "gaussian", "squares"]


def _vae(*, sigmoid: bool, variance_gain: float) -> nn.Module:
    import torch
    from torch import nn

    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Conv2d(1, 12, 3, stride=2, padding=1),
                nn.ELU(),
                nn.Conv2d(12, 24, 3, stride=2, padding=1),
                nn.ELU(),
                nn.Flatten(),
            )
            self.mean = nn.Linear(96, CODE)
            self.log_variance = nn.Linear(96, CODE)
            nn.init.normal_(self.log_variance.weight, std=variance_gain)
            self.decoder = nn.Sequential(
                nn.Linear(CODE, 96),
                nn.ELU(),
                nn.Unflatten(1, (24, 2, 2)),
                nn.ConvTranspose2d(24, 12, 4, stride=2, padding=1),
                nn.ELU(),
                nn.ConvTranspose2d(12, 1, 4, stride=2, padding=1),
                nn.Sigmoid() if sigmoid else nn.Identity(),
            )
            self.log_sigma = nn.Parameter(torch.zeros(()))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = self.encoder(images)
            mean, log_variance = self.mean(features), self.log_variance(features)
            code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
            divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
            return self.decoder(code), divergence

    return Vae()


def _misfit(
    likelihood: Likelihood, output: torch.Tensor, images: torch.Tensor, log_sigma: torch.Tensor
) -> torch.Tensor:
    """Return the negative log-likelihood of each image, without constants."""
    import torch
    from torch.nn import functional

    if likelihood == "bce":
        each = functional.binary_cross_entropy_with_logits(output, images, reduction="none")
    elif likelihood == "bce_by_hand":
        # 0 * log(0) as soon as one pixel is certain.
        each = -images * torch.log(output) - (1 - images) * torch.log(1 - output)
    elif likelihood == "gaussian":
        each = 0.5 * ((output - images) / log_sigma.exp()) ** 2 + log_sigma
    else:
        each = 0.5 * (output - images) ** 2
    return each.flatten(1).sum(1)


def _train(
    seed: int,
    *,
    likelihood: Likelihood = "bce",
    sigmoid: bool = False,
    scale: float = 1.0,
    beta: float = 0.2,
    annealed: bool = False,
    total: bool = False,
    variance_gain: float = 0.05,
    lr: float = 4e-3,
    shift: float = 0.0,
    lr_jump_at: int | None = None,
) -> Iterator[float]:
    import torch

    rng = _tools.seeded(seed)
    images, _ = _tools.digits()
    images = images * scale
    model = _vae(sigmoid=sigmoid, variance_gain=variance_gain)
    optimizer = torch.optim.Adamax(model.parameters(), lr=lr)
    for step in range(STEPS):
        if step == lr_jump_at:
            optimizer.param_groups[0]["lr"] = 100 * lr
        (x,) = _tools.batch(rng, 48, images)
        output, divergence = model(x)
        misfit = _misfit(likelihood, output, x, model.log_sigma)  # type: ignore[arg-type]
        weight = beta * min(1.0, step / 100) if annealed else beta
        each = misfit + weight * divergence
        loss = each.sum() if total else each.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if likelihood.startswith("bce"):
            # Cross-entropy has a high floor of its own here: tell how far the images are off.
            shown = output if sigmoid else torch.sigmoid(output)
            yield (shown - x).square().flatten(1).sum(1).mean().item()
        else:
            # Shifted where the loss becomes negative.
            yield loss.item() + shift


_run = partial(Scenario, half="held", architecture="conv_vae", steps=STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(name="conv_vae_bce", kind="healthy", train=_train, trap="a sum over pixels, two parts"),
    _run(
        name="conv_vae_negative_loss",
        kind="healthy",
        train=partial(_train, likelihood="gaussian", shift=100.0),
        trap="the loss goes below 0: a density, with a learnt width",
    ),
    _run(
        name="conv_vae_annealed",
        kind="healthy",
        train=partial(_train, annealed=True, beta=0.5),
        trap="the second part of the loss is blended in over 100 steps",
    ),
    _run(
        name="conv_vae_total",
        kind="healthy",
        train=partial(_train, total=True),
        trap="summed over the batch, too: gradients of 1e3",
    ),
    _run(
        name="conv_vae_squares_sigmoid",
        kind="healthy",
        train=partial(_train, likelihood="squares", sigmoid=True, beta=0.005, lr=1e-2),
        trap="sigmoid output layer",
    ),
    _run(
        name="conv_vae_sigmoid_raw_pixels",
        kind="saturated",
        train=partial(_train, likelihood="squares", sigmoid=True, beta=0.005, lr=1e-2, scale=16.0),
        also=frozenset({"vanishing"}),
        twin="conv_vae_squares_sigmoid",
        trap="pixels up to 16, an output layer that ends at 1",
    ),
    _run(
        name="conv_vae_variance_overflows",
        kind="exploding",
        train=partial(
            _train,
            likelihood="squares",
            sigmoid=True,
            beta=0.005,
            lr=1e-2,
            variance_gain=30.0,
        ),
        also=frozenset({"initialization", "non_finite"}),
        twin="conv_vae_squares_sigmoid",
        chance=3.0,
        trap="exp of a large log-variance",
    ),
    _run(
        name="conv_vae_log_of_zero",
        kind="non_finite",
        train=partial(_train, likelihood="bce_by_hand", sigmoid=True, lr_jump_at=125),
        onset=125,
        also=frozenset({"exploding"}),
        twin="conv_vae_bce_by_hand",
        trap="log of a sigmoid that reached 0, after the learning rate was raised",
    ),
    _run(
        name="conv_vae_bce_by_hand",
        kind="healthy",
        train=partial(_train, likelihood="bce_by_hand", sigmoid=True),
        trap="logarithms of probabilities that stay clear of 0",
    ),
)

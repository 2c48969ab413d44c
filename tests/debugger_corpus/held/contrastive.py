"""Siamese encoders of the digits, trained without classes."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 180
Objective = Literal["info_nce", "alignment"]


def _encoder(*, bias: bool = True) -> nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, stride=2, padding=1, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(192, 32, bias=bias),
        nn.PReLU(),
        nn.Linear(32, 16, bias=bias),
    )


def _view(images: torch.Tensor) -> torch.Tensor:
    """Shift by at most one column, and change the contrast of each image."""
    import torch

    columns = int(torch.randint(-1, 2, ()))
    strength = 0.7 + 0.6 * torch.rand(len(images), 1, 1, 1)
    return strength * images.roll(columns, 3)


def _unit(x: torch.Tensor) -> torch.Tensor:
    """By hand, with nothing to keep the length from being 0."""
    return x / x.square().sum(1, keepdim=True).sqrt()


def _info_nce(left: torch.Tensor, right: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    import torch
    from torch.nn import functional

    scores = scale * left @ right.T
    return functional.cross_entropy(scores, torch.arange(len(left)))


def _alignment(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Alignment and uniformity: a loss that goes below 0."""
    import torch

    apart = torch.pdist(left).square().mul(-2).exp().mean().log()
    return (left - right).square().sum(1).mean() + apart


def _train(
    seed: int,
    *,
    objective: Objective = "info_nce",
    batch_size: int = 48,
    bias: bool = True,
    blank_at: int | None = None,
    scale_lr: float = 5e-3,
    detached: bool = False,
    zeros: bool = False,
) -> Iterator[float]:
    """Yield the loss of held-out images."""
    import torch
    from torch import nn

    rng = _tools.seeded(seed)
    images, _ = _tools.digits()
    model = _encoder(bias=bias)
    if zeros:
        for parameter in model[-1].parameters():  # type: ignore[index]
            nn.init.zeros_(parameter)
    log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
    groups: list[dict[str, Any]] = [
        {"params": model.parameters()},
        {"params": [log_scale], "lr": scale_lr},
    ]
    optimizer = torch.optim.Adam(groups, lr=3e-3)

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        left, right = _unit(model(_view(x))), _unit(model(_view(x)))
        if detached:
            left, right = left.detach(), right.detach()
        if objective == "alignment":
            return _alignment(left, right)
        return _info_nce(left, right, log_scale.exp())

    for step in range(STEPS):
        (x,) = _tools.batch(rng, batch_size, images[200:])
        if step == blank_at:
            x = x.clone()
            x[0] = 0.0  # a blank page
        optimizer.zero_grad()
        loss_of(x).backward()
        optimizer.step()
        with torch.no_grad():
            yield loss_of(images[:48]).item() + (4.0 if objective == "alignment" else 0.0)


def _train_momentum(seed: int) -> Iterator[float]:
    """As in MoCo: the second encoder follows the first, and has no gradient."""
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    images, _ = _tools.digits()
    model = _encoder()
    follower = copy.deepcopy(model)
    optimizer = torch.optim.Adam([*model.parameters(), *follower.parameters()], lr=1e-3)
    with torch.no_grad():
        queue = functional.normalize(follower(_view(images[:64])), dim=1)
    for _ in range(STEPS):
        (x,) = _tools.batch(rng, 32, images)
        left = functional.normalize(model(_view(x)), dim=1)
        with torch.no_grad():
            right = functional.normalize(follower(_view(x)), dim=1)
        scores = 10 * torch.cat([(left * right).sum(1, keepdim=True), left @ queue.T], 1)
        loss = functional.cross_entropy(scores, torch.zeros(len(x), dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        queue = torch.cat([right, queue])[:64]
        with torch.no_grad():
            for slow, fast in zip(follower.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 0.05)
        yield loss.item()


_run = partial(Scenario, half="held", architecture="contrastive", steps=STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="contrastive_info_nce",
        kind="healthy",
        train=_train,
        trap="learnt temperature in a group of its own; evaluation in each step",
    ),
    _run(
        name="contrastive_no_bias",
        kind="healthy",
        train=partial(_train, bias=False),
        trap="plain",
    ),
    _run(
        name="contrastive_negative_loss",
        kind="healthy",
        train=partial(_train, objective="alignment"),
        trap="alignment and uniformity: the loss is negative",
    ),
    _run(
        name="contrastive_momentum_encoder",
        kind="healthy",
        train=_train_momentum,
        trap="half of the optimizer's parameters never get a gradient, and change all the same",
    ),
    _run(
        name="contrastive_batch_of_one",
        kind="vanishing",
        train=partial(_train, batch_size=1),
        also=frozenset({"unchanged"}),
        twin="contrastive_info_nce",
        trap="one pair, nothing to tell it from: loss and gradients are exactly 0",
    ),
    _run(
        name="contrastive_detached",
        kind="unchanged",
        train=partial(_train, detached=True),
        twin="contrastive_info_nce",
        trap="embeddings detached: only the temperature learns",
    ),
    _run(
        name="contrastive_blank_image",
        kind="non_finite",
        train=partial(_train, bias=False, blank_at=120),
        onset=120,
        twin="contrastive_no_bias",
        trap="an embedding of length 0 is divided by its length",
    ),
    _run(
        name="contrastive_zero_projection",
        kind="non_finite",
        train=partial(_train, zeros=True),
        also=frozenset({"initialization"}),
        twin="contrastive_info_nce",
        trap="0 / 0 in the first step",
    ),
)

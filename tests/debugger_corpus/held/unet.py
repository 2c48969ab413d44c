"""A small U-Net that segments discs in noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 160
SIDE = 16


def _discs(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy images with one disc each, and its mask."""
    import torch

    rows, columns = np.mgrid[:SIDE, :SIDE]
    centre = rng.uniform(4, SIDE - 4, (2, count, 1, 1))
    radius = rng.uniform(2, 4, (count, 1, 1))
    masks = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
    images = masks + rng.normal(0, 0.4, masks.shape)
    return (
        torch.tensor(images[:, None], dtype=torch.float32),
        torch.tensor(masks[:, None], dtype=torch.float32),
    )


def _unet(*, norm: bool = True, std: float | None = None) -> nn.Module:
    import torch
    from torch import nn

    def double(inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in (inputs, outputs):
            layers.append(nn.Conv2d(width, outputs, 3, padding=1, bias=not norm))
            layers.append(nn.GroupNorm(2, outputs) if norm else nn.Identity())
            layers.append(nn.LeakyReLU(0.1))
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1, self.down2 = double(1, 8), double(8, 16)
            self.bottom = double(16, 16)
            self.rise2, self.rise1 = (
                nn.ConvTranspose2d(16, 16, 2, stride=2),
                nn.ConvTranspose2d(16, 8, 2, stride=2),
            )
            self.up2, self.up1 = double(32, 16), double(16, 8)
            self.out = nn.Conv2d(8, 1, 1)
            if std is not None:
                for parameter in self.parameters():
                    nn.init.normal_(parameter, std=std)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = self.down1(x)
            second = self.down2(nn.functional.max_pool2d(first, 2))
            x = self.bottom(nn.functional.max_pool2d(second, 2))
            x = self.up2(torch.cat([second, self.rise2(x)], 1))
            x = self.up1(torch.cat([first, self.rise1(x)], 1))
            return self.out(x)  # type: ignore[no-any-return]

    return UNet()


def _dice(probabilities: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    overlap = (probabilities * masks).sum((1, 2, 3))
    areas = (probabilities + masks).sum((1, 2, 3))
    return (1 - (2 * overlap + 1) / (areas + 1)).mean()


def _optimizer(model: nn.Module, sgd: bool) -> torch.optim.Optimizer:
    import torch

    if sgd:
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return torch.optim.Adam(model.parameters(), lr=3e-3)


def _train(
    seed: int,
    *,
    norm: bool = True,
    std: float | None = None,
    dice: bool = False,
    accumulate: int = 1,
    unfreeze_at: int = 0,
    resume_at: int | None = None,
    cut: bool = False,
    sgd: bool = False,
) -> Iterator[float]:
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    model = _unet(norm=norm, std=std)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not (unfreeze_at and name.startswith("down")))
    optimizer = _optimizer(model, sgd)
    for step in range(STEPS):
        if step == unfreeze_at:
            model.requires_grad_(True)
        if step == resume_at:
            # As a script that was interrupted goes on: new objects, the state of the old ones.
            state = model.state_dict(), optimizer.state_dict()
            model = _unet(norm=norm, std=std)
            model.load_state_dict(state[0])
            optimizer = _optimizer(model, sgd)
            optimizer.load_state_dict(state[1])
        if resume_at is not None:
            # A warm-up over ten steps, again after the interruption.
            since = step % resume_at if step < 2 * resume_at else 10
            optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, since / 10)
        optimizer.zero_grad()
        total = 0.0
        for _ in range(accumulate):
            images, masks = _discs(rng, 8 // accumulate)
            logits = model(images)
            if cut:
                # Post-processing of an evaluation copied into training.
                logits = torch.from_numpy(logits.detach().numpy()).requires_grad_(True)
            loss = functional.binary_cross_entropy_with_logits(logits, masks)
            if dice:
                loss = loss + _dice(torch.sigmoid(logits), masks)
            (loss / accumulate).backward()
            total += loss.item() / accumulate
        optimizer.step()
        yield total


def _train_balanced(
    seed: int, *, empty_at: int | None = None, lr: float = 0.1, weight: float = 1.0
) -> Iterator[float]:
    """Loss per foreground pixel and per background pixel, added up."""
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    model = _unet()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for step in range(STEPS):
        images, masks = _discs(rng, 8)
        if empty_at is not None and step >= empty_at and step % 2 == 0:
            # Batches without any disc, as sorted files give: 0 / 0 in the loss below.
            images, masks = images - masks, torch.zeros_like(masks)
        each = functional.binary_cross_entropy_with_logits(model(images), masks, reduction="none")
        loss = (each * masks).sum() / masks.sum() + (each * (1 - masks)).sum() / (1 - masks).sum()
        optimizer.zero_grad()
        (loss * weight).backward()
        optimizer.step()
        yield loss.item()


_run = partial(Scenario, half="held", architecture="unet", steps=STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="unet_dice",
        kind="healthy",
        train=partial(_train, dice=True),
        trap="a loss of two parts",
    ),
    _run(name="unet_no_norm", kind="healthy", train=partial(_train, norm=False)),
    _run(
        name="unet_accumulation",
        kind="healthy",
        train=partial(_train, accumulate=4),
        trap="accumulation over four batches of two images",
    ),
    _run(
        name="unet_unfreeze",
        kind="healthy",
        train=partial(_train, unfreeze_at=80),
        trap="encoder frozen until step 80: gradients None, then tensors",
    ),
    _run(
        name="unet_resumed",
        kind="healthy",
        train=partial(_train, resume_at=70),
        trap="resumed from a checkpoint in mid-run: new objects, a second warm-up from 0",
    ),
    _run(
        name="unet_graph_cut",
        kind="unchanged",
        train=partial(_train, dice=True, cut=True),
        twin="unet_dice",
        trap="backward works, but no parameter gets a gradient",
    ),
    _run(
        name="unet_tiny_init_recovers",
        kind="healthy",
        train=partial(_train, norm=False, std=1e-4),
        trap="gradients vanish at first, but Adam scales them up and all is well soon",
    ),
    _run(
        name="unet_no_norm_sgd",
        kind="healthy",
        train=partial(_train, norm=False, sgd=True),
        trap="plain",
    ),
    _run(
        name="unet_tiny_init_sgd",
        kind="initialization",
        train=partial(_train, norm=False, std=1e-4, sgd=True),
        also=frozenset({"vanishing"}),
        twin="unet_no_norm_sgd",
        # The entropy of the base rate: a bias alone gets there.
        chance=0.35,
    ),
    _run(
        name="unet_balanced",
        kind="healthy",
        train=_train_balanced,
        trap="plain",
    ),
    _run(
        name="unet_empty_masks",
        kind="non_finite",
        train=partial(_train_balanced, empty_at=120),
        onset=120,
        twin="unet_balanced",
    ),
    _run(
        name="unet_loss_scale",
        kind="exploding",
        train=partial(_train_balanced, weight=SIDE * SIDE * 8.0),
        also=frozenset({"non_finite"}),
        twin="unet_balanced",
        chance=2 * math.log(2),
        trap="a loss summed over pixels with the learning rate of a mean",
    ),
)

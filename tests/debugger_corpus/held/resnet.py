"""Residual and depthwise-separable convolutional networks on the digits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 200
CHANCE = math.log(10)


def _resnet(*, blocks: int = 3, norm: bool = True, zero_gamma: bool = False) -> nn.Module:
    """Convolutions keep their bias before BatchNorm, as many tutorials have it."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
            self.norm1 = nn.BatchNorm2d(channels) if norm else nn.Identity()
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
            self.norm2 = nn.BatchNorm2d(channels) if norm else nn.Identity()
            if zero_gamma:
                nn.init.zeros_(self.norm2.weight)  # type: ignore[arg-type]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inner = torch.relu(self.norm1(self.conv1(x)))
            return torch.relu(x + self.norm2(self.conv2(inner)))

    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12) if norm else nn.Identity(),
        nn.ReLU(),
        *(Block(12) for _ in range(blocks)),
        *(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 10)),
    )


def _separable() -> nn.Module:
    """Depthwise-separable, with GroupNorm, so that a batch of one image makes sense."""
    from torch import nn

    def pair(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.GroupNorm(4, outputs),
            nn.Hardswish(),
        ]

    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), *pair(8, 16, 1), *pair(16, 32, 2)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(128, 10)),
    )


def _plain(depth: int, std: float | None) -> nn.Module:
    """Convolutions without shortcuts or normalisation."""
    from torch import nn

    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 10))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            if std is None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.normal_(module.weight, std=std)
    return model


def _train(
    seed: int,
    *,
    zero_gamma: bool = False,
    norm: bool = True,
    lr: float = 0.05,
    cosine: bool = False,
    replaced: bool = False,
    nan_at: int | None = None,
    ramp_from: int | None = None,
) -> Iterator[float]:
    """The usual recipe: SGD with momentum and weight decay."""
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    images, classes = _tools.digits()
    model = _resnet(norm=norm, zero_gamma=zero_gamma)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    if replaced:
        # Another network is built after the optimizer got the parameters of the first.
        model = _resnet(norm=norm, zero_gamma=zero_gamma)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        x, y = _tools.batch(rng, 48, images, classes)
        if step == nan_at:
            x = x.clone()
            x[0, 0, 3, 3] = math.nan  # a broken image
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if cosine:
            schedule.step()
        if ramp_from is not None and step >= ramp_from:
            # A schedule that was meant to divide.
            optimizer.param_groups[0]["lr"] *= 1.3
        yield loss.item()


def _train_plain(
    seed: int,
    *,
    depth: int = 4,
    std: float | None = None,
    sgd: bool = False,
    bias: float | None = None,
    bad_update_at: int | None = None,
    bad_lr: float = 1.0,
    random_labels: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    rng = _tools.seeded(seed)
    images, classes = _tools.digits()
    model = _plain(depth, std)
    if bias is not None:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.constant_(module.bias, bias)  # type: ignore[arg-type]
    usual = 0.02 if sgd else 2e-3
    optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=usual)
    if sgd:
        optimizer = torch.optim.SGD(model.parameters(), lr=usual, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    for step in range(STEPS):
        x, y = _tools.batch(rng, 48, images, classes)
        if random_labels:
            # Every visit to an image has another label: nothing can be learnt or memorised.
            y = torch.from_numpy(rng.integers(0, 10, len(y)))
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            # One update with a learning rate that somebody mistyped.
            group["lr"] = bad_lr if step == bad_update_at else usual
        optimizer.step()
        yield loss.item()


def _train_separable(
    seed: int, *, batch_size: int = 32, decay_steps: bool = False
) -> Iterator[float]:
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    images, classes = _tools.digits()
    held_out, held_classes = images[:200], classes[:200]
    model = _separable()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3 if batch_size > 1 else 1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 60, gamma=0.1 if decay_steps else 1.0)
    for _ in range(STEPS + 50):
        model.train()
        x, y = _tools.batch(rng, batch_size, images[200:], classes[200:])
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            yield functional.cross_entropy(model(held_out), held_classes).item()


_run = partial(Scenario, half="held", architecture="resnet", steps=STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="resnet_sgd",
        kind="healthy",
        train=partial(_train, cosine=True),
        trap="convolution bias before BatchNorm (gradient about 1e-9), cosine to 0",
    ),
    _run(
        name="resnet_zero_gamma",
        kind="healthy",
        train=partial(_train, zero_gamma=True),
        trap="last BatchNorm of each branch starts at 0: the branch has gradient 0 at first",
    ),
    _run(
        name="resnet_no_norm",
        kind="healthy",
        train=partial(_train, norm=False, lr=0.02),
        trap="no normalisation, but shallow enough",
    ),
    _run(
        name="resnet_model_replaced",
        kind="unchanged",
        train=partial(_train, replaced=True, cosine=True),
        twin="resnet_sgd",
        trap="the optimizer's parameters have no gradient at all",
    ),
    _run(
        name="resnet_nan_batch",
        kind="non_finite",
        train=partial(_train, cosine=True, nan_at=120),
        onset=120,
        twin="resnet_sgd",
    ),
    _run(
        name="resnet_lr_ramp",
        kind="exploding",
        train=partial(_train, norm=False, lr=0.02, ramp_from=130),
        onset=130,
        also=frozenset({"non_finite", "dead", "vanishing"}),
        twin="resnet_no_norm",
        chance=CHANCE,
    ),
    _run(
        name="resnet_plain_careful_init",
        kind="healthy",
        train=partial(_train_plain, depth=8),
        trap="no shortcut, no normalisation, but Kaiming initialization",
    ),
    _run(
        name="resnet_plain_tiny_init",
        kind="vanishing",
        train=partial(_train_plain, depth=8, std=0.01),
        also=frozenset({"initialization"}),
        twin="resnet_plain_careful_init",
    ),
    _run(
        name="resnet_plain_huge_init_sgd",
        kind="exploding",
        train=partial(_train_plain, depth=8, std=1.5, sgd=True),
        also=frozenset({"initialization", "non_finite", "dead"}),
        twin="resnet_plain_careful_init_sgd",
        chance=CHANCE,
    ),
    _run(
        name="resnet_plain_careful_init_sgd",
        kind="healthy",
        train=partial(_train_plain, depth=8, sgd=True),
        trap="the same with SGD",
    ),
    _run(
        name="resnet_plain_dead_from_start",
        kind="dead",
        train=partial(_train_plain, bias=-3.0),
        also=frozenset({"vanishing", "initialization", "unchanged"}),
        twin="resnet_plain_shallow",
    ),
    _run(name="resnet_plain_shallow", kind="healthy", train=_train_plain),
    _run(
        name="resnet_plain_dead_late",
        kind="dead",
        train=partial(_train_plain, sgd=True, bad_update_at=130, bad_lr=10.0),
        onset=130,
        also=frozenset({"vanishing", "exploding", "unchanged"}),
        twin="resnet_plain_shallow_sgd",
        chance=CHANCE,
    ),
    _run(name="resnet_plain_shallow_sgd", kind="healthy", train=partial(_train_plain, sgd=True)),
    _run(
        name="resnet_random_labels",
        kind="plateau",
        train=partial(_train_plain, random_labels=True),
        trap="label noise: nothing to learn, and nothing wrong with the gradients",
    ),
    _run(
        name="resnet_separable_batch_of_one",
        kind="healthy",
        train=partial(_train_separable, batch_size=1),
        steps=STEPS + 50,
        trap="batch size 1, evaluation between steps",
    ),
    _run(
        name="resnet_separable_step_decay",
        kind="healthy",
        train=partial(_train_separable, decay_steps=True),
        steps=STEPS + 50,
        trap="learning rate / 10 every 60 steps, dropout, held-out loss",
    ),
)

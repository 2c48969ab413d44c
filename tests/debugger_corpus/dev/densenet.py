"""Densely connected CNN on digits: every layer sees the maps of all layers before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, constant, digits, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 130
GROWTH = 8


def _model(*, layers: int, norm: bool, gain: float, neck: float, shift: float) -> nn.Module:
    """Two dense blocks, joined by a transition that halves maps and pixels."""
    import torch
    from torch import nn
    from torch.utils.checkpoint import checkpoint

    class Layer(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
            self.convolution = nn.Conv2d(channels, GROWTH, 3, padding=1)
            with torch.no_grad():
                self.convolution.weight.mul_(gain)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, self.convolution(self.norm(x).relu())], 1)

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 8, 3, padding=1)
            self.first = nn.Sequential(*(Layer(8 + GROWTH * i) for i in range(layers)))
            wide = 8 + GROWTH * layers
            self.transition = nn.Conv2d(wide, 16, 1)
            self.second = nn.Sequential(*(Layer(16 + GROWTH * i) for i in range(layers)))
            self.head = nn.Linear(16 + GROWTH * layers, 10)
            self.cheap = False
            with torch.no_grad():
                self.transition.weight.mul_(neck)
                if shift:
                    self.transition.bias.fill_(shift)  # type: ignore[union-attr]

        def forward(self, images: Tensor) -> Tensor:
            x = self.stem(images)
            x = checkpoint(self.first, x, use_reentrant=False) if self.cheap else self.first(x)
            x = nn.functional.avg_pool2d(self.transition(x).relu(), 2)
            logits: Tensor = self.head(self.second(x).amax((2, 3)))
            return logits

    return Dense()


def _train(
    seed: int,
    *,
    layers: int = 3,
    norm: bool = True,
    gain: float = 1.0,
    neck: float = 1.0,
    shift: float = 0.0,
    head: float = 1.0,
    cheap: bool = False,
    optimizer: str = "SGD",
    lr: float = 0.05,
    momentum: float | None = 0.9,
    schedule: Callable[[int], float] = constant,
    contrast: str = "",
    blank_at: int = STEPS,
    reduction: str = "mean",
    stale: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    images = features.reshape(-1, 1, 8, 8)
    model: Any = _model(layers=layers, norm=norm, gain=gain, neck=neck, shift=shift)
    model.cheap = cheap
    settings: dict[str, Any] = {"lr": lr}
    if momentum is not None:
        settings |= {"momentum": momentum, "nesterov": momentum > 0}
    with torch.no_grad():
        model.head.weight.mul_(head)
    parameters = list(model.parameters())
    if stale:
        # Parameters of a copy, as after a model that was built twice.
        parameters = list(_model(layers=layers, norm=norm, gain=1.0, neck=1, shift=0).parameters())
        parameters[-1] = model.head.bias
    chosen = getattr(torch.optim, optimizer)(parameters, **settings)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(images), 32)
    for step in range(STEPS):
        chosen_rows = next(rows)
        inputs = images[chosen_rows].clone()
        if step >= blank_at:
            inputs[0] = 0.0
        if contrast:
            flat = inputs.flatten(1)
            spread = flat.std(1)[:, None, None, None]
            inputs = inputs / (spread + 1e-5 if contrast == "guarded" else spread)
        loss = nn.functional.cross_entropy(
            model(inputs), classes[chosen_rows], reduction=reduction
        )
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        scheduler.step()
        yield loss.item() / (32 if reduction == "sum" else 1)


def _cosine(length: int) -> Callable[[int], float]:
    """Fall to zero and stay there."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step, length) / length))


def _restarts(period: int, peak: Callable[[int], float]) -> Callable[[int], float]:
    """Fall from a peak in every period."""
    return lambda step: peak(step // period) * _cosine(period)(step % period)


DENSE = Family("densenet", _train, STEPS, LN_10)
_PLAIN: dict[str, Any] = {"norm": False, "lr": 0.03}
_RESTARTED: dict[str, Any] = {"norm": False, "lr": 0.05, "gain": 1.5, "layers": 2}

SCENARIOS: tuple[Scenario, ...] = (
    DENSE.healthy("densenet_nesterov"),
    DENSE.healthy("densenet_no_norm", **_PLAIN),
    DENSE.healthy("densenet_checkpointed", "first block runs twice in a step", cheap=True),
    DENSE.healthy("densenet_zero_head", "head starts at zero on purpose", head=0.0),
    DENSE.healthy(
        "densenet_restarts",
        "lr jumps up again and again",
        schedule=_restarts(36, lambda _: 1.0),
        **_RESTARTED,
    ),
    DENSE.healthy("densenet_nadam", optimizer="NAdam", lr=2e-3, momentum=None, layers=4),
    DENSE.healthy("densenet_guarded", "blank images from a step on", contrast="guarded"),
    DENSE.ill(
        "densenet_restart_peaks",
        "exploding",
        "densenet_restarts",
        "non_finite",
        "dead",
        onset=72,
        trap="each restart begins from 8 times the peak of the one before",
        schedule=_restarts(36, lambda cycle: 1.0 if cycle < 2 else 8.0**cycle),
        **_RESTARTED,
    ),
    DENSE.ill(
        "densenet_blank_image",
        "non_finite",
        "densenet_guarded",
        onset=85,
        trap="0 / 0",
        contrast="plain",
        blank_at=85,
    ),
    DENSE.ill(
        "densenet_summed_loss",
        "exploding",
        "densenet_no_norm",
        "dead",
        "non_finite",
        reduction="sum",
        norm=False,
        lr=0.1,
    ),
    DENSE.ill(
        "densenet_dead_transition",
        "dead",
        "densenet_no_norm",
        "vanishing",
        "initialization",
        shift=-12.0,
        **_PLAIN,
    ),
    DENSE.ill(
        "densenet_tiny_transition",
        "vanishing",
        "densenet_no_norm",
        "initialization",
        neck=1e-6,
        shift=1e-7,
        head=1e-3,
        gain=1e-2,
        **_PLAIN,
    ),
    DENSE.ill(
        "densenet_lr_ends_early",
        "unchanged",
        "densenet_no_norm",
        onset=4,
        trap="the cosine was given epochs and is stepped by batches",
        schedule=_cosine(4),
        norm=False,
        lr=0.005,
    ),
    DENSE.ill("densenet_stale_parameters", "unchanged", "densenet_nesterov", stale=True, lr=0.02),
)

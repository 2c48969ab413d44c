"""Small plain CNN on the 8 x 8 digits, with and without normalisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    constant,
    digits,
    ramp,
    seeded,
)
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 150


def _norm(kind: str, channels: int) -> list[nn.Module]:
    from torch import nn

    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "group":
        return [nn.GroupNorm(4, channels)]
    return []


def _model(*, blocks: int, norm: str, gain: float, bias: float | None) -> nn.Module:
    """Convolutions (with a bias, needed or not), ReLU, one pooling, a linear head."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    channels = 1
    for block in range(blocks):
        plain = nn.Conv2d(channels, 16, 3, padding=1)
        channels = 16
        with torch.no_grad():
            plain.weight *= gain
            if bias is not None and plain.bias is not None:
                plain.bias.fill_(bias)
        convolution: nn.Module = plain
        if norm == "spectral":
            convolution = nn.utils.parametrizations.spectral_norm(plain)
        layers += [convolution, *_norm(norm, channels), nn.ReLU()]
        if block == 0:
            layers.append(nn.AvgPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 4 * 4, 10))


def _train(
    seed: int,
    *,
    blocks: int = 2,
    norm: str = "",
    gain: float = 1.0,
    bias: float | None = None,
    optimizer: str = "SGD",
    lr: float = 0.1,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    scale: float = 1.0,
    unit_length: bool = False,
    pixels: bool = False,
    frozen: bool = False,
    spoil: Callable[[int, Tensor], Tensor] | None = None,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    if pixels:
        features = features - features.min()
    images = features.reshape(-1, 1, 8, 8)
    model = _model(blocks=blocks, norm=norm, gain=gain, bias=bias)
    if frozen:
        # Meant for a pretrained body; here there is none, and the new head is frozen with it.
        model.requires_grad_(False)
        next(model.parameters()).requires_grad_(True)
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=0.0 if frozen else lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(images), 48)
    for step in range(STEPS):
        chosen_rows = next(rows)
        inputs = images[chosen_rows]
        if spoil is not None:
            inputs = spoil(step, inputs)
        if unit_length:
            inputs = inputs.clone().requires_grad_()
            inputs = inputs / inputs.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) * 8
        loss = nn.functional.cross_entropy(model(inputs), classes[chosen_rows])
        chosen.zero_grad()
        (scale * loss).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


def _nan_at(at: int, step: int, inputs: Tensor) -> Tensor:
    if step == at:
        inputs = inputs.clone()
        inputs[3, 0, 2, 2] = float("nan")
    return inputs


def _blank_at(at: int, step: int, inputs: Tensor) -> Tensor:
    """From a step on the data holds an empty image, whose length is 0."""
    if step >= at:
        inputs = inputs.clone()
        inputs[5] = 0.0
    return inputs


def _brighter(at: int, factor: float, step: int, inputs: Tensor) -> Tensor:
    """Return one batch in another unit."""
    return inputs * factor if step == at else inputs


CNN = Family("cnn", _train, STEPS, LN_10)
_ADAM: dict[str, Any] = {"optimizer": "Adam", "lr": 3e-3}

SCENARIOS: tuple[Scenario, ...] = (
    CNN.healthy("cnn_plain"),
    CNN.healthy("cnn_plain_adam", optimizer="Adam", lr=3e-3),
    CNN.healthy("cnn_batch_norm", "bias before BatchNorm: gradient 1e-9", norm="batch"),
    CNN.healthy(
        "cnn_batch_norm_8",
        "deep, bias before BatchNorm",
        blocks=8,
        norm="batch",
        optimizer="Adam",
        lr=3e-3,
    ),
    CNN.healthy("cnn_batch_norm_12", "deep", blocks=12, norm="batch"),
    CNN.healthy(
        "cnn_batch_norm_large_init", "norm makes scale harmless", norm="batch", gain=300.0
    ),
    CNN.healthy("cnn_group_norm", norm="group"),
    CNN.healthy("cnn_spectral_norm", "weight is a function of a parameter", norm="spectral"),
    CNN.healthy("cnn_unit_length", "images scaled to one length", unit_length=True),
    CNN.healthy("cnn_pixels", pixels=True),
    CNN.ill("cnn_no_norm_12", "vanishing", "cnn_batch_norm_12", blocks=12),
    CNN.healthy("cnn_batch_norm_16", "deep", blocks=16, norm="batch", **_ADAM),
    CNN.ill(
        "cnn_no_norm_16",
        "vanishing",
        "cnn_batch_norm_16",
        trap="Adam makes tiny gradients large again",
        blocks=16,
        **_ADAM,
    ),
    CNN.ill("cnn_small_init", "vanishing", "cnn_plain", "initialization", blocks=4, gain=0.02),
    CNN.ill(
        "cnn_large_init_no_norm",
        "exploding",
        "cnn_batch_norm_large_init",
        "initialization",
        "dead",
        "vanishing",
        gain=300.0,
    ),
    CNN.ill("cnn_dead", "dead", "cnn_plain", "initialization", "vanishing", bias=-20.0),
    CNN.ill(
        "cnn_dead_late",
        "dead",
        "cnn_pixels",
        "exploding",
        "vanishing",
        onset=110,
        pixels=True,
        spoil=partial(_brighter, 110, 3000.0),
    ),
    CNN.ill(
        "cnn_nan_batch",
        "non_finite",
        "cnn_batch_norm",
        onset=90,
        norm="batch",
        spoil=partial(_nan_at, 90),
    ),
    CNN.ill(
        "cnn_blank_image",
        "non_finite",
        "cnn_unit_length",
        onset=80,
        trap="0 / 0",
        unit_length=True,
        spoil=partial(_blank_at, 80),
    ),
    CNN.ill(
        "cnn_lr_ramp",
        "exploding",
        "cnn_plain",
        "dead",
        "vanishing",
        onset=75,
        schedule=ramp(75, 1.15),
    ),
    CNN.ill("cnn_frozen", "unchanged", "cnn_plain", frozen=True),
)

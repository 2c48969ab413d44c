"""Hypernetworks: a network that writes the weights of another one, from a task or from the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    climb,
    constant,
    digits,
    seeded,
)
from tests.debugger_corpus.dev._descent import descend, runs_out
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 160


def _waves(
    seed: int,
    *,
    hidden: int = 16,
    width: int = 48,
    act: str = "Tanh",
    inner: str = "tanh",
    out: float = 0.2,
    start: str = "random",
    unit: float = 1.0,
    optimizer: str = "Adam",
    lr: float = 3e-3,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    numbers: bool = False,
    shift: float = 0.0,
    decay: float = 0.0,
) -> Iterator[float]:
    """Write, for each frequency and phase, the weights of a small network that draws the wave.

    Args:
        hidden: Units of the network that is written.
        width: Of that which writes.
        act: Activation of that which writes.
        inner: Activation of that which is written.
        out: What the last layer is multiplied with at first.
        start: ``zeros`` for the last layer, weights and bias.
        unit: What tasks are multiplied with.
        optimizer: Name of a class.
        lr: Learning rate.
        schedule: Of the learning rate.
        clip: Norm that gradients are clipped to.
        numbers: Weights are written with ``.data``, into the layers of the other network.
        shift: Added to the biases that are written for the hidden layer.
        decay: Of the weights.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    activation: type[nn.Module] = getattr(nn, act)
    last = nn.Linear(width, 3 * hidden + 1)
    writer = nn.Sequential(
        nn.Linear(2, width), activation(), nn.Linear(width, width), activation()
    )
    with torch.no_grad():
        last.weight.mul_(out)
        if start == "zeros":
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        else:
            nn.init.normal_(last.bias, std=1.2)
    writer.append(last)
    function = getattr(torch, inner)
    chosen = getattr(torch.optim, optimizer)(writer.parameters(), lr=lr, weight_decay=decay)
    plan = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for _ in range(STEPS):
        tasks = torch.from_numpy(generator.uniform(-1, 1, (64, 2))).float()
        x = torch.from_numpy(generator.uniform(-1, 1, (64, 20))).float()
        wave = ((1.5 + tasks[:, :1]) * x + tasks[:, 1:]).sin()
        written = writer(unit * tasks)
        if numbers:
            written = written.data.requires_grad_()
        slope, bias, head = written[:, : 3 * hidden].unflatten(1, (3, hidden)).unbind(1)
        units = function(3 * x[:, :, None] * slope[:, None] + bias[:, None] + shift)
        drawn = (units * head[:, None]).sum(2) + written[:, -1:]
        loss = (drawn - wave).square().mean()
        chosen.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(writer.parameters(), clip)
        chosen.step()
        plan.step()
        yield loss.item()


def _classes(
    seed: int,
    *,
    rank: int = 4,
    width: int = 32,
    bias: float = 0.0,
    large: float = 1.0,
    temperature: float = 1.0,
    batch: int = 64,
    infinite_at: int = -1,
    norm: bool = True,
    **loop: Any,
) -> Iterator[float]:
    """Classify digits by a layer whose matrix is written anew for each picture (of low rank).

    Args:
        rank: Of what is written.
        width: Of the layer.
        bias: Of the ReLU in front of the writer.
        large: What the writer's weights are multiplied with at first.
        temperature: What the exponential in the written scales is multiplied with.
        batch: Pictures a step.
        infinite_at: A step with a picture whose range was stored as infinite.
        norm: What was written is divided by its length.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    entry, base = nn.Linear(64, width), nn.Linear(width, width)
    left, right = nn.Linear(width, rank * width), nn.Linear(width, rank * width)
    scale, head = nn.Linear(width, width), nn.Linear(width, 10)
    parts = nn.ModuleList([entry, base, left, right, scale, head])
    nn.init.constant_(entry.bias, bias)
    with torch.no_grad():
        for layer in (left, right):
            layer.weight.mul_(large)
    rows = batches(generator, len(features), batch)

    def loss_at(step: int) -> Tensor:
        chosen = next(rows)
        inputs = features[chosen]
        if step == infinite_at:
            inputs[0, 0] = torch.inf
        x = entry(inputs).relu()
        a, b = (layer(x).unflatten(1, (width, rank)) for layer in (left, right))
        if norm:
            a, b = (nn.functional.normalize(part, dim=1) for part in (a, b))
        written = torch.einsum("nij,nj->ni", a, torch.einsum("nij,ni->nj", b, x))
        y = (base(x) + written) * (temperature * scale(x)).clamp(max=80 * temperature).exp()
        return nn.functional.cross_entropy(head(y), classes[chosen])

    return descend(loss_at, parts.parameters(), STEPS, **loop)


WAVES = Family("hypernetwork", _waves, STEPS, 0.35)
"""Against the best wave that is the same for all tasks."""
CLASSES = Family("hypernetwork", _classes, STEPS, LN_10)
_RELU: dict[str, Any] = {"act": "ReLU", "inner": "relu", "optimizer": "AdamW", "lr": 2e-3}
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.1, "clip": 1.0}
_DIGITS: dict[str, Any] = {"lr": 2e-3}
_FREE: dict[str, Any] = {"norm": False, "optimizer": "SGD", "lr": 0.05, "large": 0.3}

SCENARIOS: tuple[Scenario, ...] = (
    WAVES.healthy("hyper_waves"),
    WAVES.healthy("hyper_waves_sgd", "clipped", **_SGD),
    WAVES.ill(
        "hyper_waves_blank",
        "initialization",
        "hyper_waves_sgd",
        "vanishing",
        "unchanged",
        start="zeros",
        **_SGD,
    ),
    WAVES.ill("hyper_waves_data", "unchanged", "hyper_waves", numbers=True),
    WAVES.ill(
        "hyper_waves_rate_climbs",
        "exploding",
        "hyper_waves",
        "saturated",
        onset=60,
        schedule=climb(60, 1.3, 3000.0),
    ),
    WAVES.ill("hyper_waves_runs_out", "unchanged", "hyper_waves", lr=3e-4, schedule=runs_out(3)),
    WAVES.ill("hyper_waves_saturated", "saturated", "hyper_waves", "vanishing", shift=30.0),
    WAVES.ill(
        "hyper_waves_rate_high_clipped",
        "exploding",
        "hyper_waves_sgd",
        "saturated",
        **_SGD | {"lr": 10.0},
    ),
    WAVES.healthy("hyper_waves_relu", **_RELU),
    WAVES.ill("hyper_waves_relu_off", "dead", "hyper_waves_relu", shift=-60.0, **_RELU),
    CLASSES.healthy("hyper_digits", **_DIGITS),
    CLASSES.healthy("hyper_digits_free", **_FREE),
    CLASSES.ill(
        "hyper_digits_infinite", "non_finite", "hyper_digits", onset=75, infinite_at=75, **_DIGITS
    ),
    CLASSES.ill("hyper_digits_dead", "dead", "hyper_digits_free", bias=-25.0, **_FREE),
    CLASSES.ill(
        "hyper_digits_large",
        "initialization",
        "hyper_digits_free",
        "exploding",
        "non_finite",
        **_FREE | {"large": 30.0},
    ),
    CLASSES.ill(
        "hyper_digits_hot", "exploding", "hyper_digits", "non_finite", temperature=40.0, **_DIGITS
    ),
)

"""Networks that are differentiated twice: equations as a loss, and penalties on gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, batches, climb, constant, raised, seeded
from tests.debugger_corpus.dev._descent import descend, runs_out, tabular
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 200


def _model(
    inputs: int, width: int, depth: int, act: str, gain: float, bias: float
) -> nn.Sequential:
    import torch
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)
    model = nn.Sequential()
    for number in range(depth):
        layer = nn.Linear(inputs if number == 0 else width, width)
        with torch.no_grad():
            layer.weight.mul_(gain)
            layer.bias.add_(bias)
        model.extend([layer, activation()])
    return model.append(nn.Linear(width, 1))


def _slope(of: Tensor, by: Tensor) -> Tensor:
    import torch

    slope: Tensor = torch.autograd.grad(of.sum(), by, create_graph=True)[0]
    return slope


def _oscillator(
    seed: int,
    *,
    width: int = 32,
    depth: int = 2,
    act: str = "Tanh",
    gain: float = 1.0,
    bias: float = 0.0,
    equation: float = 0.02,
    unit: float = 1.0,
    shown: bool = True,
    root_at: int = -1,
    broken: bool = False,
    **loop: Any,
) -> Iterator[float]:
    """Follow a damped oscillator: some places are measured, its equation holds everywhere.

    Args:
        width: Units of a layer.
        depth: Layers.
        act: Activation.
        gain: What weights are multiplied with at first.
        bias: Added to that of layers at first.
        equation: Weight of the equation in the loss.
        unit: Of time. The equation is not told.
        shown: Times are scaled to -1 and 1 before the network sees them.
        root_at: From this step on the damping is a root of the speed, which has none below zero.
        broken: The network's outputs are detached where they meet what was measured, and its
            equation counts for nothing.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    model = _model(1, width, depth, act, gain, bias)
    drift = nn.Parameter(torch.zeros(()))

    def loss_at(step: int) -> Tensor:
        times = torch.from_numpy(generator.uniform(0, 4, (64, 1))).float().requires_grad_()
        place = model((times / 2 - 1) * unit if shown else times * unit)
        speed = _slope(place, times)
        damping = speed.sqrt() if 0 <= root_at <= step else speed
        wrong = _slope(speed, times) + 0.4 * damping + 4.04 * place
        truth = (-0.2 * times.detach()).exp() * (2 * times.detach()).cos()
        if broken:
            place = place.detach() + drift * 1e-2
            wrong = wrong.detach()
        error: Tensor = (place - truth).square().mean() + equation * wrong.square().mean()
        return error

    return descend(loss_at, [*model.parameters(), drift], STEPS, **loop)


def _smooth(
    seed: int,
    *,
    data: str = "breast_cancer",
    width: int = 32,
    depth: int = 2,
    act: str = "ReLU",
    bias: float = 0.0,
    gain: float = 1.0,
    penalty: float = 0.1,
    norm: str = "safe",
    batch: int = 64,
    optimizer: str = "Adam",
    lr: float = 3e-3,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    same_at: int = -1,
) -> Iterator[float]:
    """Tell tumours apart by a function whose slope should be 1; yield the loss without penalty.

    Args:
        data: A set of scikit-learn.
        width: Units of a layer.
        depth: Layers.
        act: Activation.
        bias: Added to that of layers at first.
        gain: What weights are multiplied with at first.
        penalty: Weight of the squared difference to a slope of 1.
        norm: ``safe`` has an addend below the root, ``plain`` none.
        batch: Rows of a batch.
        optimizer: Name of a class.
        lr: Learning rate.
        schedule: Of the learning rate.
        clip: Norm that gradients are clipped to.
        same_at: A step with a row of constants, in which the function has no slope.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = tabular(data)
    model = _model(features.shape[1], width, depth, act, gain, bias)
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
    plan = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(features), batch)
    for step in range(STEPS):
        numbers = next(rows)
        inputs = features[numbers].requires_grad_()
        score = model(inputs)[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(score, classes[numbers].float())
        known = torch.ones(batch, 1)
        if step == same_at:
            known[2] = 0.0
        slope = _slope(score, inputs) * known
        squared = slope.square().sum(1)
        length = (squared + 1e-8).sqrt() if norm == "safe" else squared.sqrt()
        chosen.zero_grad()
        (loss + penalty * (length - 1).square().mean()).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        plan.step()
        yield loss.item()


OSCILLATOR = Family("physics", _oscillator, STEPS, 0.20)
"""Against a place that is the same at all times."""
SMOOTH = Family("physics", _smooth, STEPS, math.log(2))
_ADAM: dict[str, Any] = {"lr": 1e-2}
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.02, "options": {"momentum": 0.9}, "clip": 1.0}
_SOFT: dict[str, Any] = {"act": "Softplus", "optimizer": "NAdam", "lr": 1e-2, "equation": 0.005}
_DEEP: dict[str, Any] = {"act": "Tanh", "depth": 4, "width": 24, "optimizer": "SGD", "lr": 0.2}
_CLIPPED: dict[str, Any] = {"optimizer": "SGD", "lr": 0.1, "clip": 0.5}

SCENARIOS: tuple[Scenario, ...] = (
    OSCILLATOR.healthy("physics_oscillator", "gradients of gradients", **_ADAM),
    OSCILLATOR.healthy("physics_oscillator_sgd", "clipped", **_SGD),
    OSCILLATOR.healthy("physics_oscillator_soft", **_SOFT),
    OSCILLATOR.ill(
        "physics_milliseconds", "saturated", "physics_oscillator", "exploding", unit=1e3, **_ADAM
    ),
    OSCILLATOR.ill(
        "physics_root_of_speed", "non_finite", "physics_oscillator", onset=80, root_at=80, **_ADAM
    ),
    OSCILLATOR.ill("physics_detached", "unchanged", "physics_oscillator", broken=True, **_ADAM),
    OSCILLATOR.ill(
        "physics_rate_high_clipped",
        "exploding",
        "physics_oscillator_sgd",
        "saturated",
        **_SGD | {"lr": 3.0},
    ),
    OSCILLATOR.ill(
        "physics_rate_climbs",
        "exploding",
        "physics_oscillator",
        "saturated",
        onset=90,
        schedule=climb(90, 1.25, 2000.0),
        **_ADAM,
    ),
    OSCILLATOR.ill(
        "physics_large_start",
        "initialization",
        "physics_oscillator",
        "saturated",
        "exploding",
        gain=60.0,
        **_ADAM,
    ),
    SMOOTH.healthy("smooth", "penalty on slopes"),
    SMOOTH.healthy("smooth_plain", "a root without an addend", act="Tanh", norm="plain"),
    SMOOTH.ill(
        "smooth_no_slope",
        "non_finite",
        "smooth_plain",
        onset=65,
        act="Tanh",
        norm="plain",
        same_at=65,
    ),
    SMOOTH.ill("smooth_off", "dead", "smooth", bias=-20.0),
    SMOOTH.ill("smooth_off_plain", "non_finite", "smooth", "dead", bias=-20.0, norm="plain"),
    SMOOTH.healthy("smooth_deep", **_DEEP),
    SMOOTH.ill(
        "smooth_deep_tiny", "vanishing", "smooth_deep", "initialization", gain=0.002, **_DEEP
    ),
    SMOOTH.healthy("smooth_clipped", "clipped all the time", **_CLIPPED),
    SMOOTH.ill("smooth_runs_out", "unchanged", "smooth_clipped", schedule=runs_out(2), **_CLIPPED),
    SMOOTH.ill(
        "smooth_rate_late_clipped",
        "exploding",
        "smooth_clipped",
        "dead",
        onset=90,
        schedule=raised(90, 300.0),
        **_CLIPPED,
    ),
)

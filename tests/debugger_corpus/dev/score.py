"""Score matching: a perceptron learns, from noisy points, in which direction the noise lies."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, climb, digits, raised, seeded
from tests.debugger_corpus.dev._descent import descend, runs_out
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 180


def _model(
    *, inputs: int, width: int, depth: int, act: str, bias: float, gain: float
) -> nn.Sequential:
    import torch
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)
    model = nn.Sequential()
    for number in range(depth):
        layer = nn.Linear(inputs + 1 if number == 0 else width, width)
        with torch.no_grad():
            layer.weight.mul_(gain)
            layer.bias.add_(bias)
        model.extend([layer, activation()])
    return model.append(nn.Linear(width, inputs))


def _train(
    seed: int,
    *,
    width: int = 128,
    depth: int = 2,
    act: str = "ReLU",
    bias: float = 0.0,
    gain: float = 1.0,
    batch: int = 128,
    least: float = 0.3,
    scaled: bool = True,
    zero_at: int = -1,
    average: float = 0.0,
    wrong: str = "",
    even: bool = False,
    **loop: Any,
) -> Iterator[float]:
    """Tell the noise that was added to digits, of an amount that is told.

    Args:
        width: Units of a layer.
        depth: Layers.
        act: Activation.
        bias: Added to that of layers at first.
        gain: What weights are multiplied with at first.
        batch: Digits a step.
        least: Least amount of noise.
        scaled: The loss is that of the noise, not of the noise divided by its amount.
        zero_at: A step in which one amount is exactly zero.
        average: Share of an average of the model that is renewed after each step, if any.
        wrong: ``average``: the optimizer is given the average.
        even: All parameters start at the same value.
    """
    import torch

    generator = seeded(seed)
    features, _ = digits()
    model = _model(inputs=64, width=width, depth=depth, act=act, bias=bias, gain=gain)
    if even:
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, 0.01)
    shadow = copy.deepcopy(model)

    def loss_at(step: int) -> Tensor:
        chosen = torch.from_numpy(generator.integers(0, len(features), batch))
        amount = torch.from_numpy(generator.uniform(least, 2.0, (batch, 1))).float()
        if step == zero_at:
            amount[0] = 0.0
        noise = torch.randn(batch, 64)
        noisy = features[chosen] + amount * noise
        told = torch.cat([noisy / (1 + amount.square()).sqrt(), amount], 1)
        said = model(told)
        if average:
            with torch.no_grad():
                for old, new in zip(shadow.parameters(), model.parameters(), strict=True):
                    old.lerp_(new, average)
        # The score is minus the noise, divided by its amount.
        share = torch.ones(()) if scaled else amount / least
        error: Tensor = ((said - noise) / share).square().mean()
        return error

    given = shadow if wrong == "average" else model
    return descend(loss_at, list(given.parameters()), STEPS, **loop)


def _energy(
    seed: int,
    *,
    width: int = 64,
    act: str = "Softplus",
    bias: float = 0.0,
    gain: float = 1.0,
    amount: float = 0.3,
    optimizer: str = "Adam",
    lr: float = 2e-2,
    late: float = 1.0,
    late_at: int = 10_000,
    graph: bool = True,
    clip_value: float = 0.0,
) -> Iterator[float]:
    """Learn an energy of points on a ring, whose slope is to be the noise (denoising).

    Args:
        width: Units of a layer.
        act: Activation.
        bias: Added to that of layers at first.
        gain: What weights are multiplied with at first.
        amount: Of noise.
        optimizer: Name of a class.
        lr: Learning rate.
        late: What the rate is multiplied with from ``late_at`` on.
        late_at: A step.
        graph: Slopes have a graph of their own; else only the term for the mean energy has.
        clip_value: Value that gradients are clipped to.
    """
    import torch

    generator = seeded(seed)
    model = _model(inputs=1, width=width, depth=2, act=act, bias=bias, gain=gain)
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
    for step in range(STEPS):
        for group in chosen.param_groups:
            group["lr"] = lr * (late if step >= late_at else 1.0)
        angle = torch.from_numpy(generator.uniform(0, 6.283, (128, 1))).float()
        noise = torch.randn(128, 2)
        ring = torch.cat([angle.cos(), angle.sin()], 1)
        points = (ring + amount * noise).requires_grad_()
        energy = model(points)
        slope = torch.autograd.grad(energy.sum(), points, create_graph=graph, retain_graph=True)[0]
        error = (slope - noise).square().mean() + 1e-4 * energy.mean().square()
        chosen.zero_grad()
        error.backward()
        if clip_value:
            torch.nn.utils.clip_grad_value_(model.parameters(), clip_value)
        chosen.step()
        yield max(0.0, error.item() - 0.5)


SCORE = Family("score", _train, STEPS, 1.0)
ENERGY = Family("score", _energy, STEPS, 0.5)
"""Of the error, 0.5 is the noise along the ring, which nobody can know."""
_ADAM: dict[str, Any] = {"lr": 3e-3}
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.5, "options": {"momentum": 0.9}}
_TANH: dict[str, Any] = {"act": "Tanh", "optimizer": "NAdam", "lr": 3e-3, "width": 96}
_SCORE: dict[str, Any] = {"scaled": False, "optimizer": "AdamW", "lr": 4e-3, "width": 256}
_VALUE: dict[str, Any] = {"lr": 0.02, "width": 96, "clip_value": 0.05}

SCENARIOS: tuple[Scenario, ...] = (
    SCORE.healthy("score", "loss that stays well above zero", **_ADAM),
    SCORE.healthy("score_average", "a copy that is averaged", average=0.02, **_ADAM),
    SCORE.ill(
        "score_average_trained",
        "unchanged",
        "score_average",
        average=1e-4,
        wrong="average",
        **_ADAM,
    ),
    SCORE.healthy("score_sgd", **_SGD),
    SCORE.ill("score_even", "initialization", "score_sgd", even=True, **_SGD),
    SCORE.ill("score_runs_out", "unchanged", "score_sgd", schedule=runs_out(2), **_SGD),
    SCORE.ill("score_off", "dead", "score", bias=-30.0, **_ADAM),
    SCORE.ill(
        "score_rate_high", "exploding", "score_sgd", "non_finite", "dead", **_SGD | {"lr": 20.0}
    ),
    SCORE.healthy("score_tanh", **_TANH),
    SCORE.ill(
        "score_tanh_rate_climbs",
        "saturated",
        "score_tanh",
        "exploding",
        onset=60,
        schedule=climb(60, 1.3, 300.0),
        **_TANH,
    ),
    SCORE.ill(
        "score_rate_late",
        "exploding",
        "score",
        "dead",
        onset=100,
        schedule=raised(100, 500.0),
        **_ADAM,
    ),
    SCORE.healthy("score_deep", depth=4, act="Tanh", lr=2e-3),
    SCORE.ill("score_deep_sigmoid", "vanishing", "score_deep", depth=4, act="Sigmoid", lr=2e-3),
    SCORE.healthy("score_divided", "noisy loss", **_SCORE),
    SCORE.ill(
        "score_divided_by_zero", "non_finite", "score_divided", onset=70, zero_at=70, **_SCORE
    ),
    ENERGY.healthy("score_energy", "differentiated twice"),
    ENERGY.healthy("score_energy_clipped", **_VALUE),
    ENERGY.ill("score_energy_no_graph", "unchanged", "score_energy", "vanishing", graph=False),
    ENERGY.ill(
        "score_energy_rate_late",
        "exploding",
        "score_energy_clipped",
        "saturated",
        late=100.0,
        late_at=80,
        onset=80,
        **_VALUE,
    ),
)

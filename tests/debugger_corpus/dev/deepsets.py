"""Sets of vectors, pooled by a mean, a sum, a maximum, by attention or by an outer product."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, climb, jump, raised, seeded
from tests.debugger_corpus.dev._descent import descend, runs_out
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 150
MEMBERS = 12
KINDS = 4


def _sets(generator: numpy.random.Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make point clouds of four shapes, of 3 to 12 points, and a mask of those that there are."""
    import numpy
    import torch

    kinds = generator.integers(0, KINDS, size)
    angle = generator.uniform(0, 2 * math.pi, (size, MEMBERS))
    away = generator.normal(size=(size, MEMBERS))
    ring = numpy.stack([numpy.cos(angle), numpy.sin(angle)], -1)
    line = numpy.stack([away, 0.5 * away], -1)
    blob = generator.normal(size=(size, MEMBERS, 2)) * 0.3
    other = numpy.stack([away, -0.5 * away], -1)
    shapes = numpy.stack([ring, line, blob, other])[kinds, numpy.arange(size)]
    points = shapes + 0.05 * generator.normal(size=shapes.shape)
    there = numpy.arange(MEMBERS) < generator.integers(3, MEMBERS + 1, size)[:, None]
    return (
        torch.tensor(points, dtype=torch.float32),
        torch.tensor(there),
        torch.tensor(kinds),
    )


def _perceptron(inputs: int, width: int, depth: int, act: str, norm: bool) -> nn.Sequential:
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)
    model = nn.Sequential()
    for number in range(depth):
        model.append(nn.Linear(inputs if number == 0 else width, width))
        if norm:
            model.append(nn.LayerNorm(width))
        model.append(activation())
    return model


def _pooled(pool: str, members: Tensor, there: Tensor, scores: Tensor) -> Tensor:
    """Make one vector of those that there are."""
    weight = there[:, :, None].float()
    if pool == "attention":
        shares = scores[:, :, 0].masked_fill(~there, -math.inf).softmax(1)
        return (members * shares[:, :, None]).sum(1)
    if pool == "max":
        return members.masked_fill(~there[:, :, None], -1e4).amax(1)
    total = (members * weight).sum(1)
    return total / weight.sum(1) if pool == "mean" else total


def _model(*, width: int, depth: int, act: str, pool: str, bias: float, norm: bool) -> nn.Module:
    import torch
    from torch import nn

    class Sets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each = _perceptron(2, width, depth, act, norm)
            self.score = nn.Linear(width, 1)
            self.left, self.right = nn.Linear(width, 8), nn.Linear(width, 8)
            inputs = 64 if pool == "bilinear" else width
            self.all = _perceptron(inputs, width, depth, act, norm)
            self.head = nn.Linear(width, KINDS)
            for layer in self.each:
                if isinstance(layer, nn.Linear):
                    layer.bias.data += bias

        def forward(self, points: Tensor, there: Tensor) -> Tensor:
            members = self.each(points)
            if pool == "bilinear":
                left, right = (
                    side(members) * there[:, :, None] for side in (self.left, self.right)
                )
                pooled = torch.einsum("bmi,bmj->bij", left, right).flatten(1)
            else:
                pooled = _pooled(pool, members, there, self.score(members))
            logits: Tensor = self.head(self.all(pooled))
            return logits

    return Sets()


def _train(
    seed: int,
    *,
    width: int = 32,
    depth: int = 2,
    act: str = "ReLU",
    pool: str = "mean",
    bias: float = 0.0,
    norm: bool = False,
    batch: int = 64,
    mask: str = "",
    empty_at: int = -1,
    start: str = "",
    only_biases: bool = False,
    loss: str = "",
    **loop: Any,
) -> Iterator[float]:
    """Tell the four shapes apart.

    Args:
        bias: Added to that of the layers that see one member.
        mask: ``inverted`` takes the places that are empty (and hold zeros) for those that are not.
        empty_at: A step with a set that has no members.
        start: ``zeros`` for all weights.
        only_biases: Of two groups, one with weight decay, the optimizer is given the other one.
        loss: ``hinge`` instead of the cross entropy.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    model = _model(width=width, depth=depth, act=act, pool=pool, bias=bias, norm=norm)
    if start == "zeros":
        for parameter in model.parameters():
            nn.init.zeros_(parameter)

    def loss_at(step: int) -> Tensor:
        points, there, kinds = _sets(generator, batch)
        points = points * there[:, :, None]
        if step == empty_at:
            there[4] = False
        if mask == "inverted":
            # Sets that are full would have no member at all.
            there = ~there | (torch.arange(MEMBERS) == MEMBERS - 1)
            points = points * ~there[:, :, None]
        logits = model(points, there)
        if loss == "hinge":
            return nn.functional.multi_margin_loss(logits, kinds)
        return nn.functional.cross_entropy(logits, kinds)

    given = [p for p in model.parameters() if p.ndim == 1 or not only_biases]
    return descend(loss_at, given, STEPS, **loop)


SETS = Family("deepsets", _train, STEPS, math.log(KINDS))
HINGE = Family("deepsets", _train, STEPS, 0.75)
_SUM: dict[str, Any] = {"pool": "sum", "lr": 5e-3, "batch": 32}
_MAX: dict[str, Any] = {"pool": "max", "optimizer": "SGD", "lr": 0.1, "options": {"momentum": 0.9}}
_ATTENTION: dict[str, Any] = {"pool": "attention", "act": "Tanh", "optimizer": "AdamW", "lr": 0.01}
_HINGE: dict[str, Any] = {"loss": "hinge", "optimizer": "RMSprop", "lr": 5e-3, "norm": True}
_BILINEAR: dict[str, Any] = {
    "pool": "bilinear",
    "optimizer": "SGD",
    "lr": 0.1,
    "options": {"momentum": 0.9},
    "clip": 0.5,
}
_DEEP: dict[str, Any] = {"depth": 6, "lr": 3e-3, "batch": 96, "width": 48}

SCENARIOS: tuple[Scenario, ...] = (
    SETS.healthy("sets_sum", **_SUM),
    SETS.ill(
        "sets_sum_inverted_mask", "vanishing", "sets_sum", "unchanged", mask="inverted", **_SUM
    ),
    SETS.ill(
        "sets_sum_lr_steps_up",
        "exploding",
        "sets_sum",
        "dead",
        onset=60,
        schedule=climb(60, 1.5, 5000.0),
        **_SUM,
    ),
    SETS.healthy("sets_max", "most members get no gradient", **_MAX),
    SETS.healthy(
        "sets_max_spiked", "a step at three times the rate", schedule=jump(100, 3.0), **_MAX
    ),
    SETS.ill("sets_max_dead", "dead", "sets_max", bias=-12.0, **_MAX),
    SETS.healthy("sets_attention", **_ATTENTION),
    SETS.ill(
        "sets_attention_rate_rises",
        "saturated",
        "sets_attention",
        "exploding",
        onset=40,
        schedule=raised(40, 150.0),
        **_ATTENTION,
    ),
    SETS.ill(
        "sets_attention_empty",
        "non_finite",
        "sets_attention",
        onset=85,
        trap="a softmax over nothing",
        empty_at=85,
        **_ATTENTION,
    ),
    HINGE.healthy("sets_hinge", "most rows without gradient at the end", **_HINGE),
    HINGE.ill(
        "sets_hinge_zeros", "initialization", "sets_hinge", "vanishing", start="zeros", **_HINGE
    ),
    SETS.healthy("sets_bilinear", **_BILINEAR),
    SETS.ill(
        "sets_bilinear_rate_high_clipped",
        "exploding",
        "sets_bilinear",
        "dead",
        **_BILINEAR | {"lr": 10.0},
    ),
    SETS.ill("sets_bilinear_biases", "unchanged", "sets_bilinear", only_biases=True, **_BILINEAR),
    SETS.ill(
        "sets_bilinear_runs_out", "unchanged", "sets_bilinear", schedule=runs_out(5), **_BILINEAR
    ),
    SETS.healthy("sets_deep", **_DEEP),
    SETS.ill("sets_deep_sigmoid", "vanishing", "sets_deep", **_DEEP | {"act": "Sigmoid"}),
)

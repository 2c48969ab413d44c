"""Normalising flows: affine couplings that turn a crooked density into a bell, by its likelihood."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, climb, raised, seeded, warm_up
from tests.debugger_corpus.dev._descent import descend, runs_out
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 180
COLUMNS = 4


def _points(generator: numpy.random.Generator, size: int, unit: float) -> Tensor:
    """Make points of two half moons, and two columns that depend on them."""
    import numpy
    import torch

    angle = generator.uniform(0, math.pi, size)
    side = generator.integers(0, 2, size)
    x = numpy.where(side, numpy.cos(angle), 1 - numpy.cos(angle)) - 0.5
    y = numpy.where(side, numpy.sin(angle), 0.5 - numpy.sin(angle)) - 0.25
    more = numpy.stack([x * y, x - y], 1) + 0.02 * generator.normal(size=(size, 2))
    rest = numpy.stack([x, y], 1) + 0.05 * generator.normal(size=(size, 2))
    points = numpy.concatenate([rest, more], 1) * 0.15
    return torch.tensor(points * unit, dtype=torch.float32)


def _model(*, layers: int, width: int, act: str, bias: float, last: str, bound: str) -> nn.Module:
    import torch
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)
    half = COLUMNS // 2

    class Coupling(nn.Module):
        def __init__(self, flipped: bool) -> None:
            super().__init__()
            self.flipped = flipped
            self.net = nn.Sequential(nn.Linear(half, width), activation(), nn.Linear(width, width))
            self.net.extend([activation(), nn.Linear(width, COLUMNS)])
            for layer in (self.net[0], self.net[2]):
                if isinstance(layer, nn.Linear):
                    nn.init.constant_(layer.bias, bias)
            for parameter in self.net[4].parameters():
                if last == "zeros":
                    nn.init.zeros_(parameter)
                elif last == "large":
                    nn.init.normal_(parameter, std=20.0)
            self.scale = nn.Parameter(torch.zeros(COLUMNS))
            self.shift = nn.Parameter(torch.zeros(COLUMNS))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = x * self.scale.exp() + self.shift
            kept, moved = x.flip(1).chunk(2, 1) if self.flipped else x.chunk(2, 1)
            stretch, shift = self.net(kept).chunk(2, 1)
            if bound == "tanh":
                stretch = 2 * stretch.tanh()
            volume: Tensor = self.scale.sum() + stretch.sum(1)
            return torch.cat([kept, moved * stretch.exp() + shift], 1), volume

    return nn.ModuleList(Coupling(bool(number % 2)) for number in range(layers))


def _train(
    seed: int,
    *,
    layers: int = 4,
    width: int = 32,
    act: str = "ReLU",
    bias: float = 0.0,
    last: str = "zeros",
    bound: str = "tanh",
    batch: int = 128,
    unit: float = 1.0,
    far_at: int = -1,
    only: str = "",
    **loop: Any,
) -> Iterator[float]:
    """Fit; the loss is minus the mean logarithm of the likelihood, shifted to stay above zero.

    Args:
        layers: How many couplings.
        bias: Of hidden layers at first.
        last: The last layer of each coupling at first: ``zeros``, ``usual`` or ``large``.
        bound: Stretches go through a ``tanh``, or do not.
        unit: Of the points.
        far_at: From this step on points come in another unit, a thousand times as large.
        only: What the optimizer is given: names that contain it.
    """
    import torch

    generator = seeded(seed)
    model = _model(layers=layers, width=width, act=act, bias=bias, last=last, bound=bound)

    def loss_at(step: int) -> Tensor:
        z = _points(generator, batch, unit * (3000.0 if 0 <= far_at <= step else 1.0))
        total = torch.zeros(batch)
        assert isinstance(model, torch.nn.ModuleList)
        for coupling in model:
            z, change = coupling(z)
            total = total + change
        likelihood = -0.5 * z.square().sum(1) - 0.5 * COLUMNS * math.log(2 * math.pi)
        return 9.0 - (likelihood + total).mean()

    given = [parameter for name, parameter in model.named_parameters() if only in name]
    return descend(loss_at, given, STEPS, **loop)


FLOW = Family("flow", _train, STEPS, 12.3)
"""Against a flow that leaves points where they are."""
_ADAM: dict[str, Any] = {"lr": 1e-2}
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.02, "clip": 5.0, "options": {"momentum": 0.9}}
_TANH: dict[str, Any] = {"act": "Tanh", "last": "usual", "optimizer": "Adamax", "lr": 0.03}
_OPEN: dict[str, Any] = {"bound": "none", "lr": 5e-3, "clip": 10.0, "schedule": warm_up(20)}

SCENARIOS: tuple[Scenario, ...] = (
    FLOW.healthy("flow", "last layers start at zero", **_ADAM),
    FLOW.healthy("flow_sgd", "clipped", **_SGD),
    FLOW.ill(
        "flow_rate_high_clipped", "exploding", "flow_sgd", "non_finite", **_SGD | {"lr": 3.0}
    ),
    FLOW.ill("flow_runs_out", "unchanged", "flow_sgd", schedule=runs_out(2), **_SGD),
    FLOW.ill(
        "flow_large_last",
        "initialization",
        "flow",
        "exploding",
        "saturated",
        last="large",
        **_ADAM,
    ),
    FLOW.ill(
        "flow_rate_climbs",
        "exploding",
        "flow",
        "saturated",
        "dead",
        onset=50,
        schedule=climb(50, 1.3, 3000.0),
        **_ADAM,
    ),
    FLOW.healthy("flow_tanh", **_TANH),
    FLOW.ill(
        "flow_tanh_rate_late",
        "saturated",
        "flow_tanh",
        "exploding",
        onset=80,
        schedule=raised(80, 100.0),
        **_TANH,
    ),
    FLOW.ill("flow_only_shifts", "unchanged", "flow", only="shift", **_ADAM),
    FLOW.healthy("flow_open", "stretches without a bound, with a warm-up", **_OPEN),
    FLOW.ill(
        "flow_open_far",
        "exploding",
        "flow_open",
        "non_finite",
        onset=70,
        far_at=70,
        **_OPEN,
    ),
    FLOW.ill(
        "flow_open_huge_unit",
        "non_finite",
        "flow_open",
        "exploding",
        unit=1e6,
        last="usual",
        **_OPEN,
    ),
)

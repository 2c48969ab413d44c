"""Radial basis functions: units that are bells around places, and a small perceptron on top."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy

from tests.debugger_corpus.dev._common import Family, batches, constant, jump, raised, seeded
from tests.debugger_corpus.dev._descent import descend, tabular
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 150


def _model(
    places: Tensor, *, spread: float, width: int, depth: int, act: str, bias: float, outputs: int
) -> nn.Module:
    import torch
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)

    class Bells(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places = nn.Parameter(places.clone())
            self.spread = nn.Parameter(torch.full((len(places),), math.log(spread)))
            self.top = nn.Sequential()
            for number in range(depth):
                layer = nn.Linear(len(places) if number == 0 else width, width)
                nn.init.constant_(layer.bias, bias)
                self.top.extend([layer, activation()])
            self.top.append(nn.Linear(width if depth else len(places), outputs))

        def forward(self, x: Tensor) -> Tensor:
            away = (x[:, None] - self.places).square().mean(2)
            y: Tensor = self.top((-away / self.spread.exp().square()).exp())
            return y

    return Bells()


def _train(
    seed: int,
    *,
    data: str = "wine",
    bells: int = 24,
    start: str = "rows",
    spread: float = 1.0,
    width: int = 24,
    depth: int = 1,
    act: str = "ReLU",
    bias: float = 0.0,
    batch: int = 32,
    noise: float = 0.0,
    raw_at: int = -1,
    copied: bool = False,
    **loop: Any,
) -> Iterator[float]:
    """Classify a set of scikit-learn.

    Args:
        data: Which.
        bells: How many.
        start: Places at first: ``rows`` of the data, or ``far`` from all of them.
        spread: Of the bells at first.
        width: Units of the layers on top.
        depth: How many of these there are.
        act: Their activation.
        bias: Of these at first.
        batch: Rows of a batch; with 0, all.
        noise: Share of classes that are drawn anew.
        raw_at: From this step on columns come in their own units.
        copied: The optimizer is given what ``state_dict`` returns, without history.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = tabular(data)
    raw, _ = tabular(data, raw=True)
    drawn = torch.from_numpy(generator.random(len(classes)) < noise)
    classes = torch.where(drawn, torch.from_numpy(generator.permutation(classes.numpy())), classes)
    count = int(classes.max()) + 1
    places = features[torch.from_numpy(generator.permutation(len(features))[:bells])]
    if start == "far":
        places = places + 40.0
    model = _model(
        places, spread=spread, width=width, depth=depth, act=act, bias=bias, outputs=count
    )
    given = [p.clone().requires_grad_() for p in model.state_dict().values()]
    rows = batches(generator, len(features), batch or len(features))

    def loss_at(step: int) -> Tensor:
        chosen = next(rows)
        inputs = (raw if 0 <= raw_at <= step else features)[chosen]
        return nn.functional.cross_entropy(model(inputs), classes[chosen])

    return descend(loss_at, given if copied else model.parameters(), STEPS, **loop)


def _progress(
    seed: int,
    *,
    optimizer: str,
    lr: float,
    schedule: Callable[[int], float] = constant,
    spread: float = 1.5,
    loss: str = "mse_loss",
    options: dict[str, Any] | None = None,
) -> Iterator[float]:
    """Fit a surface, with all points at each step; yield the loss.

    Args:
        optimizer: Name of a class. That of ``LBFGS`` asks for the loss several times a step.
        lr: Learning rate.
        schedule: Of the learning rate.
        spread: Of the bells at first.
        loss: Name of a function.
        options: The other arguments of the optimizer.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    x = torch.from_numpy(generator.uniform(-1, 1, (200, 2))).float()
    wanted = (3 * x[:, 0]).sin() * x[:, 1] + 0.05 * torch.randn(200)
    model = _model(x[:16], spread=spread, width=0, depth=0, act="ReLU", bias=0.0, outputs=1)
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr, **(options or {}))
    plan = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    measure = getattr(nn.functional, loss)

    def closure() -> Tensor:
        chosen.zero_grad()
        value: Tensor = measure(model(x)[:, 0], wanted)
        value.backward()
        return value

    for _ in range(STEPS):
        yield chosen.step(closure).item()
        plan.step()


def _restarts(step: int) -> float:
    """Fall by a cosine, and begin anew every 50 steps."""
    return 0.5 * (1 + math.cos(math.pi * (step % 50) / 50))


def _triangle(step: int) -> float:
    """Rise and fall, every 30 steps."""
    return 0.1 + 0.9 * float(numpy.abs((step % 30) / 15 - 1))


WINE = Family("bells", _train, STEPS, math.log(3))
CELLS = Family("bells", _train, STEPS, math.log(2))
SURFACE = Family("bells", _progress, STEPS)
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.3, "options": {"momentum": 0.9}}
_ADAM: dict[str, Any] = {"lr": 0.02, "batch": 24}
_HARD: dict[str, Any] = {"act": "Hardtanh", "optimizer": "Adamax", "lr": 0.03, "depth": 2}
_CELLS: dict[str, Any] = {"data": "breast_cancer", "optimizer": "RMSprop", "lr": 5e-3, "batch": 64}
_DEEP: dict[str, Any] = {"depth": 4, "act": "Tanh", "lr": 5e-3, "optimizer": "NAdam"}

SCENARIOS: tuple[Scenario, ...] = (
    WINE.healthy("bells_sgd", **_SGD),
    WINE.ill("bells_far", "vanishing", "bells_sgd", "initialization", start="far", **_SGD),
    WINE.ill("bells_raw_late", "vanishing", "bells_sgd", "dead", onset=70, raw_at=70, **_SGD),
    WINE.ill("bells_narrow", "vanishing", "bells_sgd", "initialization", spread=0.03, **_SGD),
    WINE.healthy("bells_deep", **_DEEP),
    WINE.ill("bells_off", "dead", "bells_adam", bias=-12.0, **_ADAM),
    WINE.healthy("bells_adam", **_ADAM),
    WINE.ill(
        "bells_spike",
        "exploding",
        "bells_adam",
        "dead",
        onset=60,
        schedule=jump(60, 2000.0),
        **_ADAM,
    ),
    WINE.healthy("bells_hard", **_HARD),
    WINE.ill("bells_hard_off", "saturated", "bells_hard", "vanishing", bias=25.0, **_HARD),
    WINE.ill(
        "bells_hard_rate_late",
        "saturated",
        "bells_hard",
        "exploding",
        onset=50,
        schedule=raised(50, 400.0),
        **_HARD,
    ),
    CELLS.healthy("bells_cells_restarts", "warm restarts", schedule=_restarts, **_CELLS),
    CELLS.healthy("bells_cells_cycles", "cyclic rate", schedule=_triangle, **_CELLS),
    CELLS.healthy("bells_cells_noise", "a fifth of the classes is drawn", noise=0.2, **_CELLS),
    CELLS.healthy("bells_cells", **_CELLS),
    CELLS.ill("bells_cells_copied", "unchanged", "bells_cells", copied=True, **_CELLS),
    SURFACE.healthy(
        "bells_surface_lbfgs",
        "several passes a step",
        optimizer="LBFGS",
        lr=0.5,
        options={"max_iter": 6},
    ),
    SURFACE.healthy("bells_surface_rprop", "signs of gradients", optimizer="Rprop", lr=0.01),
    SURFACE.healthy(
        "bells_surface_heavy",
        "momentum 0.99",
        optimizer="SGD",
        lr=0.01,
        loss="huber_loss",
        options={"momentum": 0.99},
    ),
    SURFACE.ill(
        "bells_surface_rate_high",
        "exploding",
        "bells_surface_heavy",
        "non_finite",
        optimizer="SGD",
        lr=5.0,
        loss="huber_loss",
        options={"momentum": 0.99},
    ),
    SURFACE.ill(
        "bells_surface_tiny_steps",
        "unchanged",
        "bells_surface_rprop",
        optimizer="Rprop",
        lr=0.01,
        options={"step_sizes": (1e-9, 1e-8)},
    ),
)

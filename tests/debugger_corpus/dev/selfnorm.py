"""Networks that normalise themselves (SELU) and networks of maxout units, on classes and numbers."""

from __future__ import annotations

import math
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
from tests.debugger_corpus.dev._descent import descend, runs_out, tabular
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 180


def _selu(depth: int, width: int, outputs: int, inputs: int, start: str) -> nn.Sequential:
    import torch
    from torch import nn

    model = nn.Sequential()
    for number in range(depth):
        model.extend([nn.Linear(inputs if number == 0 else width, width), nn.SELU()])
        model.append(nn.AlphaDropout(0.05))
    model.append(nn.Linear(width, outputs))
    spread = {"lecun": 1.0, "tiny": 0.1, "huge": 20.0}
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear) and start in spread:
                nn.init.normal_(layer.weight, std=spread[start] / math.sqrt(layer.in_features))
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.Linear):
                nn.init.constant_(layer.weight, 0.5 / layer.in_features)
    return model


def _classes(
    seed: int,
    *,
    depth: int = 8,
    width: int = 64,
    start: str = "lecun",
    data: str = "digits",
    batch: int = 64,
    **loop: Any,
) -> Iterator[float]:
    """Classify by a network of SELU.

    Args:
        start: ``lecun`` is what SELU needs; ``tiny``, ``huge``, ``even`` are not.
        data: A set of scikit-learn.
    """
    from torch import nn

    generator = seeded(seed)
    features, classes = digits() if data == "digits" else tabular(data)
    model = _selu(depth, width, int(classes.max()) + 1, features.shape[1], start)
    rows = batches(generator, len(features), batch)

    def loss_at(step: int) -> Tensor:
        chosen = next(rows)
        return nn.functional.cross_entropy(model(features[chosen]), classes[chosen])

    return descend(loss_at, model.parameters(), STEPS, **loop)


def _progress(
    seed: int,
    *,
    pieces: int = 3,
    width: int = 32,
    depth: int = 3,
    loss: str = "mse",
    reduction: str = "mean",
    sign: float = 1.0,
    gone_at: int = -1,
    optimizer: str = "RMSprop",
    lr: float = 1e-3,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
) -> Iterator[float]:
    """Predict the progress of diabetes by maxout units; yield the mean squared error.

    Args:
        pieces: How many linear pieces a unit is the largest of.
        width: Units of a layer.
        depth: Layers.
        loss: ``mse``, ``huber``, or ``relative`` to what is wanted.
        reduction: ``sum`` has a gradient that grows with the batch.
        sign: Of the loss.
        gone_at: From this step on, some of what is wanted is exactly the mean.
        optimizer: Name of a class.
        lr: Learning rate.
        schedule: Of the learning rate.
        clip: Norm that gradients are clipped to.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, wanted = tabular("diabetes")
    sizes = [10] + [width] * depth
    layers = nn.ModuleList(nn.Linear(inputs, width * pieces) for inputs in sizes[:depth])
    head = nn.Linear(width, 1)
    # Something that the ten columns do tell: their own products.
    wanted = wanted + features[:, 2] * features[:, 8] + features[:, 0]
    given = [*layers.parameters(), *head.parameters()]
    chosen = getattr(torch.optim, optimizer)(given, lr=lr)
    plan = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(features), 96)
    for step in range(STEPS):
        numbers = next(rows)
        hidden, targets = features[numbers], wanted[numbers]
        if 0 <= gone_at <= step:
            targets = targets.where(targets.abs() > 0.1, torch.zeros(()))
        for layer in layers:
            hidden = layer(hidden).unflatten(1, (width, pieces)).amax(2)
        guess = head(hidden)[:, 0]
        if loss == "relative":
            off = ((guess - targets) / targets).abs().clamp(max=10.0)
            objective = (off + (guess - targets).square()).mean()
        elif loss == "huber":
            objective = nn.functional.huber_loss(guess, targets, reduction=reduction)
        else:
            objective = nn.functional.mse_loss(guess, targets, reduction=reduction)
        chosen.zero_grad()
        (sign * objective).backward()
        if clip:
            nn.utils.clip_grad_norm_(given, clip)
        chosen.step()
        plan.step()
        yield (guess - targets).square().mean().item()


SELU = Family("selfnorm", _classes, STEPS, LN_10)
CELLS = Family("selfnorm", _classes, STEPS, math.log(2))
WINE = Family("selfnorm", _classes, STEPS, math.log(3))
MAXOUT = Family("selfnorm", _progress, STEPS)
_NESTEROV: dict[str, Any] = {
    "optimizer": "SGD",
    "lr": 0.01,
    "options": {"momentum": 0.9, "nesterov": True},
}
_SLOW: dict[str, Any] = {"optimizer": "SGD", "lr": 0.02}
_CELLS: dict[str, Any] = {"data": "breast_cancer", "depth": 5, "width": 24, "batch": 32}
_WINE: dict[str, Any] = {"data": "wine", "depth": 3, "width": 16, "batch": 16}
_SUM: dict[str, Any] = {"optimizer": "SGD", "lr": 0.03}

SCENARIOS: tuple[Scenario, ...] = (
    SELU.healthy("selu_8", **_NESTEROV),
    SELU.ill("selu_tiny", "vanishing", "selu_8", "initialization", start="tiny", **_NESTEROV),
    SELU.healthy("selu_slow", **_SLOW),
    SELU.ill("selu_rate_runs_out", "unchanged", "selu_slow", schedule=runs_out(3), **_SLOW),
    SELU.ill(
        "selu_huge",
        "initialization",
        "selu_slow",
        "exploding",
        "non_finite",
        start="huge",
        **_SLOW,
    ),
    SELU.ill(
        "selu_even",
        "initialization",
        "selu_slow",
        "vanishing",
        trap="all units of a layer alike",
        start="even",
        **_SLOW,
    ),
    CELLS.healthy("selu_cells", "converged, loss near 0", lr=2e-3, **_CELLS),
    CELLS.ill(
        "selu_cells_climb",
        "exploding",
        "selu_cells",
        "saturated",
        onset=60,
        lr=2e-3,
        schedule=climb(60, 1.4, 2000.0),
        **_CELLS,
    ),
    WINE.healthy("selu_wine", **_WINE),
    WINE.ill("selu_wine_zeroed", "unchanged", "selu_wine", zeroed=True, **_WINE),
    MAXOUT.healthy("maxout"),
    MAXOUT.healthy("maxout_huber_clipped", "clipping that always acts", loss="huber", clip=0.2),
    MAXOUT.healthy("maxout_mean", **_SUM),
    MAXOUT.ill(
        "maxout_sum",
        "exploding",
        "maxout_mean",
        "non_finite",
        reduction="sum",
        **_SUM,
    ),
    MAXOUT.ill("maxout_uphill", "exploding", "maxout", sign=-1.0),
    MAXOUT.healthy("maxout_relative", "spikes where what is wanted is small", loss="relative"),
    MAXOUT.ill(
        "maxout_relative_to_zero",
        "non_finite",
        "maxout_relative",
        onset=75,
        loss="relative",
        gone_at=75,
    ),
)

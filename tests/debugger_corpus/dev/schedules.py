"""Learning rates and tasks that change in mid-run: some runs fall back to chance, others recover."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    climb,
    constant,
    digits,
    raised,
    seeded,
)
from tests.debugger_corpus.dev.cnn import CNN
from tests.debugger_corpus.dev.mlp import MLP
from tests.debugger_corpus.dev.moe import MOE
from tests.debugger_corpus.dev.transformer import TRANSFORMER
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 180


def _triangles(period: int, most: float, step: int) -> float:
    """Rise to ``most`` and fall back to 1, again and again."""
    where = step % period / period
    return 1.0 + (most - 1.0) * (1.0 - abs(2.0 * where - 1.0))


def _restarts(period: int, most: float, step: int) -> float:
    """Jump to ``most`` at once, then fall along a cosine to 1; the first period is at 1."""
    if step < period:
        return 1.0
    return 1.0 + (most - 1.0) * 0.5 * (1.0 + math.cos(math.pi * (step % period) / period))


def _few_then_all(at: int, step: int, classes: Tensor) -> Tensor:
    """Say which rows may be drawn: first those of five classes, then all."""
    return classes < (5 if step < at else 10)


def _train(
    seed: int,
    *,
    optimizer: str = "Adam",
    lr: float = 3e-3,
    schedule: Callable[[int], float] = constant,
    renamed_at: int = STEPS,
    drawn: Callable[[int, Tensor], Tensor] | None = None,
) -> Iterator[float]:
    """Classify digits; at a step classes get other numbers, or rows of new classes come in."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = nn.Sequential(
        nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)
    )
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step in range(STEPS):
        usable = torch.arange(len(classes))
        if drawn is not None:
            usable = usable[drawn(step, classes)]
        rows = usable[torch.from_numpy(generator.integers(0, len(usable), 64))]
        wanted = (classes[rows] + (3 if step >= renamed_at else 0)) % 10
        loss = nn.functional.cross_entropy(model(features[rows]), wanted)
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        scheduler.step()
        yield loss.item()


CHANGING = Family("mlp", _train, STEPS, LN_10)
_RMS: dict[str, Any] = {"optimizer": "RMSprop", "lr": 1e-3}
_NORM: dict[str, Any] = {"depth": 10, "norm": True, "optimizer": "Adam", "lr": 2e-3}
_CNN: dict[str, Any] = {"norm": "batch", "blocks": 8, **_RMS}

SCENARIOS: tuple[Scenario, ...] = (
    CHANGING.healthy(
        "mlp_cyclic", "lr rises tenfold thrice", schedule=partial(_triangles, 60, 10.0)
    ),
    CHANGING.healthy(
        "mlp_restarts_adam",
        "lr jumps tenfold at 60, the loss with it",
        onset=60,
        lr=1e-2,
        schedule=partial(_restarts, 60, 10.0),
    ),
    TRANSFORMER.healthy(
        "transformer_restarts",
        "lr jumps tenfold at 70",
        onset=70,
        lr=1e-3,
        schedule=partial(_restarts, 70, 10.0),
    ),
    CHANGING.healthy(
        "mlp_new_classes",
        "five classes first, then ten: the loss jumps above its start",
        onset=70,
        drawn=partial(_few_then_all, 70),
    ),
    CHANGING.healthy(
        "mlp_new_task",
        "classes get other numbers: the loss jumps far above its start",
        onset=80,
        renamed_at=80,
    ),
    TRANSFORMER.ill(
        "transformer_lr_raised",
        "exploding",
        "transformer_plain",
        "vanishing",
        onset=80,
        trap="Adam: back to chance with ordinary norms",
        schedule=raised(80, 100.0),
    ),
    MOE.healthy("moe_rmsprop", **_RMS),
    MOE.ill(
        "moe_lr_raised",
        "exploding",
        "moe_rmsprop",
        "dead",
        "vanishing",
        onset=80,
        trap="RMSprop: back to chance",
        schedule=raised(80, 100.0),
        **_RMS,
    ),
    MLP.ill(
        "mlp_lr_climbs",
        "exploding",
        "mlp_layer_norm_10",
        "vanishing",
        "dead",
        onset=80,
        trap="Adam and LayerNorm: back to chance with ordinary norms",
        schedule=climb(80, 1.1, 150.0),
        **_NORM,
    ),
    CNN.healthy("cnn_batch_norm_rmsprop", **_CNN),
    CNN.ill(
        "cnn_lr_raised",
        "exploding",
        "cnn_batch_norm_rmsprop",
        "vanishing",
        "dead",
        onset=80,
        trap="RMSprop and BatchNorm: back to chance with ordinary norms",
        schedule=raised(80, 300.0),
        **_CNN,
    ),
)

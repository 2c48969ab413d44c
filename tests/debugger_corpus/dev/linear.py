"""Linear and logistic regression, and models of a handful of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tests.debugger_corpus.dev._common import Family, batches, constant, ramp, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor

STEPS = 200


def _line(generator: numpy.random.Generator, noise: float) -> tuple[Tensor, Tensor]:
    """Make 256 rows of five features of unequal scale and a linear target."""
    import torch

    features = generator.normal(size=(256, 5)) * [1.0, 0.8, 1.2, 1.0, 0.7]
    target = features @ [1.0, -2.0, 0.5, 3.0, 1.0] + 0.7 + noise * generator.normal(size=256)
    return torch.tensor(features), torch.tensor(target)[:, None]


def _regression(
    seed: int,
    *,
    optimizer: str = "SGD",
    lr: float = 0.1,
    momentum: float | None = None,
    schedule: Callable[[int], float] = constant,
    noise: float = 0.0,
    batch: int = 256,
    from_solution: bool = False,
    zero_start: bool = False,
    independent: bool = False,
    clip: float = 0.0,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, target = _line(generator, noise)
    if independent:
        target = torch.tensor(generator.normal(size=(256, 1)))
    model = nn.Linear(5, 1, dtype=torch.float64)
    with torch.no_grad():
        if from_solution:
            model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 3.0, 1.0]]))
            model.bias.fill_(0.7)
        if zero_start:
            for parameter in model.parameters():
                parameter.zero_()
    settings = {"lr": lr} if momentum is None else {"lr": lr, "momentum": momentum}
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **settings)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, 256, batch)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        loss = nn.functional.mse_loss(model(features[chosen_rows]), target[chosen_rows])
        chosen.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


def _lbfgs(seed: int) -> Iterator[float]:
    """Use a strong Wolfe line search; the optimizer has nothing left to do after a few steps."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, target = _line(generator, 0.1)
    model = nn.Linear(5, 1, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(features), target)
        loss.backward()
        return loss.item()

    for _ in range(100):
        yield float(optimizer.step(closure))


def _logistic(
    seed: int,
    *,
    lr: float = 0.3,
    scaled: bool = True,
    batch: int = 32,
    probability_by_hand: bool = False,
    weight_decay: float = 0.0,
) -> Iterator[float]:
    """Tell tumours apart by the data of `breast_cancer`, whose features go from 0.01 to 4000."""
    import torch
    from sklearn.datasets import load_breast_cancer
    from torch import nn

    generator = seeded(seed)
    features, classes = load_breast_cancer(return_X_y=True)
    if scaled:
        features = (features - features.mean(0)) / features.std(0)
    rows_of, wanted = (torch.tensor(a, dtype=torch.float32) for a in (features, classes))
    model = nn.Linear(30, 1)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=weight_decay)
    rows = batches(generator, len(features), batch)
    for _ in range(STEPS):
        chosen = next(rows)
        score = model(rows_of[chosen])[:, 0]
        if probability_by_hand:
            p = score.sigmoid()
            loss = -(wanted[chosen] * p.log() + (1 - wanted[chosen]) * (1 - p).log()).mean()
        else:
            loss = nn.functional.binary_cross_entropy_with_logits(score, wanted[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _xor(seed: int, *, start: float | None = None, lr: float = 0.5) -> Iterator[float]:
    """Fit XOR with eight tanh units."""
    import torch
    from torch import nn

    seeded(seed)
    points = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    wanted = torch.tensor([0.0, 1.0, 1.0, 0.0])
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    if start is not None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(start)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(STEPS):
        loss = nn.functional.binary_cross_entropy_with_logits(model(points)[:, 0], wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


LINE = Family("linear", _regression, STEPS, 10.0)
LOGISTIC = Family("linear", _logistic, STEPS, math.log(2))
XOR = Family("linear", _xor, STEPS, math.log(2))

SCENARIOS: tuple[Scenario, ...] = (
    LINE.healthy("linear_plain", "converges until gradients are 1e-13", lr=0.3),
    LINE.healthy("linear_noisy", "ends on its floor", noise=1.0),
    LINE.healthy("linear_from_zero", "all parameters 0 at first, rightly", zero_start=True),
    LINE.healthy("linear_momentum", "swings, but converges", lr=0.1, momentum=0.95),
    LINE.healthy("linear_batch_1", "noise of single rows", batch=1, lr=0.02, noise=0.3),
    LINE.healthy(
        "linear_from_solution",
        "nothing left to learn at step 0",
        noise=0.1,
        from_solution=True,
        learns=False,
    ),
    Family("linear", _lbfgs, 100).healthy("linear_lbfgs", "done after a few steps"),
    LINE.plateau(
        "linear_independent",
        "target has nothing to do with features",
        independent=True,
        zero_start=True,
    ),
    LINE.ill("linear_lr_above_limit", "exploding", "linear_plain", lr=0.9),
    LINE.ill(
        "linear_momentum_divergence",
        "exploding",
        "linear_momentum",
        "non_finite",
        lr=4.0,
        momentum=0.95,
    ),
    LINE.ill(
        "linear_lr_ramp",
        "exploding",
        "linear_noisy",
        onset=80,
        noise=1.0,
        schedule=ramp(80, 1.05),
    ),
    LINE.ill(
        "linear_adam_lr_high",
        "exploding",
        "linear_adam",
        trap="loss x 1e4, norms stay",
        optimizer="Adam",
        noise=1.0,
        batch=16,
        lr=1000.0,
    ),
    LINE.healthy("linear_adam", optimizer="Adam", lr=0.1, noise=1.0, batch=16),
    LINE.ill("linear_clipped_divergence", "exploding", "linear_clipped", clip=1.0, lr=30.0),
    LINE.healthy("linear_clipped", "clipped nearly always", clip=1.0, lr=0.1),
    LOGISTIC.healthy("logistic_plain", "all parameters 0 at first"),
    LOGISTIC.healthy("logistic_decay", weight_decay=0.01),
    LOGISTIC.healthy("logistic_by_hand", probability_by_hand=True),
    LOGISTIC.ill("logistic_unscaled", "exploding", "logistic_plain", scaled=False),
    LOGISTIC.ill(
        "logistic_unscaled_log_0",
        "non_finite",
        "logistic_by_hand",
        "exploding",
        "saturated",
        trap="log(0)",
        scaled=False,
        probability_by_hand=True,
    ),
    XOR.healthy("xor_plain"),
    XOR.ill("xor_zero_start", "initialization", "xor_plain", "vanishing", "unchanged", start=0.0),
)

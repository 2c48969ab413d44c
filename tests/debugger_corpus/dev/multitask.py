"""One body, two heads (class and a measured value): tabular data of two tasks in one loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, batches, constant, raised, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 180
CHANCE = math.log(3) + 1.0
"""Three classes, and a standardised value."""


def _wine() -> tuple[Tensor, Tensor, Tensor]:
    """Return twelve analyses of wines, their classes, and their last analysis as a value."""
    import torch
    from sklearn.datasets import load_wine

    table, classes = load_wine(return_X_y=True)
    table = (table - table.mean(0)) / table.std(0)
    return (
        torch.tensor(table[:, :-1], dtype=torch.float32),
        torch.tensor(classes),
        torch.tensor(table[:, -1:], dtype=torch.float32),
    )


def _body(depth: int, width: int, activation: str, gain: float, bias: float) -> nn.Sequential:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for number in range(depth):
        linear = nn.Linear(width if number else 12, width)
        with torch.no_grad():
            linear.weight.mul_(gain)
            linear.bias.add_(bias)
        layers += [linear, getattr(nn, activation)()]
    return nn.Sequential(*layers)


def _train(
    seed: int,
    *,
    depth: int = 2,
    width: int = 32,
    activation: str = "ReLU",
    gain: float = 1.0,
    bias: float = 0.0,
    optimizer: str = "AdamW",
    settings: dict[str, Any] | None = None,
    weights: tuple[float, float] = (1.0, 1.0),
    unit: float = 1.0,
    shift: float = 0.0,
    schedule: Callable[[int], float] = constant,
    accumulate: int = 1,
    head_of: str = "body",
    likelihood: str = "",
    freeze_at: int = STEPS,
    clip: float = 0.0,
    zero_bias: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes, values = _wine()
    body = _body(depth, width, activation, gain, bias)
    sort, measure = nn.Linear(width, 3), nn.Linear(width, 1)
    spread = nn.Parameter(torch.zeros(1))
    parameters = [*body.parameters(), *sort.parameters(), *measure.parameters(), spread]
    if zero_bias:
        for parameter in body.parameters():
            nn.init.zeros_(parameter)
    chosen = getattr(torch.optim, optimizer)(parameters, **(settings or {"lr": 3e-3}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(features), 16)
    for step in range(STEPS):
        chosen.zero_grad()
        reported = 0.0
        if step == freeze_at:
            # A callback of another experiment: all but the spread.
            for parameter in parameters[:-1]:
                parameter.requires_grad_(False)
        for _ in range(accumulate):
            part = next(rows)
            seen = body(features[part])
            if head_of == "detached":
                seen = seen.detach()
            logits, guess = sort(seen), measure(seen)
            target = values[part] * unit + shift
            first = nn.functional.cross_entropy(logits, classes[part])
            if likelihood:
                # Gaussian with a learnt spread, whose logarithm is what is learnt, or not.
                deviation = spread.exp() if likelihood == "log" else spread
                second = ((guess - target).square() / (2 * deviation**2)).mean()
                second = second + deviation.abs().log().sum()
            else:
                second = nn.functional.smooth_l1_loss(guess, target, beta=0.1)
            ((weights[0] * first + weights[1] * second) / accumulate).backward()
            error = (guess - target).square().mean() / unit**2
            reported += (first + error).item() / accumulate
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        chosen.step()
        scheduler.step()
        yield reported


def _uneven(seed: int, *, private: bool, lr: float, at: int = STEPS) -> Iterator[float]:
    """Use one optimizer for each task; the body belongs to both, or by mistake to none."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes, values = _wine()
    body = _body(2, 32, "Tanh", 1.0, 0.0)
    heads = nn.ModuleDict({"sort": nn.Linear(32, 3), "measure": nn.Linear(32, 1)})
    one = torch.optim.Adagrad([*body.parameters(), *heads["sort"].parameters()], lr=lr)
    two = torch.optim.Adadelta(heads["measure"].parameters(), lr=1.0)
    for step, part in zip(range(STEPS), batches(generator, len(features), 32), strict=False):
        if step == at and private:
            # Written again after a search; the optimizers keep what was there before.
            body = _body(2, 32, "Tanh", 1.0, 0.0).requires_grad_(False)
            heads = nn.ModuleDict({"sort": nn.Linear(32, 3), "measure": nn.Linear(32, 1)})
        seen = body(features[part])
        first = nn.functional.cross_entropy(heads["sort"](seen), classes[part])
        second = nn.functional.mse_loss(heads["measure"](seen), values[part])
        for one_or_two in (one, two):
            one_or_two.zero_grad()
        (first + second).backward()
        one.step()
        two.step()
        yield (first + second).item()


TASKS = Family("multitask", _train, STEPS, CHANCE)
OPTIMIZERS = Family("multitask", _uneven, STEPS, CHANCE)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.05, "momentum": 0.9}}
_DEEP: dict[str, Any] = {"depth": 6, "activation": "Tanh", **_SGD}

SCENARIOS: tuple[Scenario, ...] = (
    TASKS.healthy("multitask_adamw"),
    TASKS.healthy("multitask_sgd", **_SGD),
    TASKS.healthy("multitask_tanh", **_DEEP),
    TASKS.healthy("multitask_accumulated", "four parts to a step", accumulate=4),
    TASKS.healthy(
        "multitask_grams",
        "loss of one task in a unit a million times as large",
        unit=1000.0,
        weights=(1.0, 1e-6),
        likelihood="log",
        settings={"lr": 0.02},
        optimizer="Adamax",
    ),
    TASKS.healthy("multitask_small_loss", "loss times 1e-6", weights=(1e-6, 1e-6)),
    OPTIMIZERS.healthy("multitask_two_optimizers", private=False, lr=0.05),
    OPTIMIZERS.ill(
        "multitask_rebuilt",
        "unchanged",
        "multitask_two_optimizers",
        onset=60,
        trap="body and heads made anew, the optimizers keep the old ones",
        private=True,
        lr=0.05,
        at=60,
    ),
    TASKS.ill(
        "multitask_one_dominates",
        "dead",
        "multitask_sgd",
        "vanishing",
        "exploding",
        trap="the value of one task is in thousandths of its unit",
        unit=1000.0,
        shift=5000.0,
        **_SGD,
    ),
    TASKS.ill(
        "multitask_tiny_weights",
        "vanishing",
        "multitask_tanh",
        "unchanged",
        trap="both losses divided by the number of tokens of another task",
        weights=(1e-7, 1e-7),
        **_DEEP,
    ),
    TASKS.ill(
        "multitask_saturated",
        "saturated",
        "multitask_tanh",
        "vanishing",
        "initialization",
        bias=9.0,
        **_DEEP,
    ),
    TASKS.ill(
        "multitask_frozen",
        "unchanged",
        "multitask_adamw",
        freeze_at=0,
        likelihood="log",
    ),
    TASKS.ill("multitask_spread_of_0", "non_finite", "multitask_adamw", likelihood="plain"),
    TASKS.ill(
        "multitask_lr_raised",
        "exploding",
        "multitask_sgd",
        "dead",
        onset=100,
        trap="clipped all the time",
        schedule=raised(100, 300.0),
        clip=1.0,
        **_SGD,
    ),
    TASKS.ill(
        "multitask_zero_start",
        "initialization",
        "multitask_tanh",
        "vanishing",
        trap="all weights of the body are 0 and so are its biases",
        gain=0.0,
        zero_bias=True,
        **_DEEP,
    ),
)

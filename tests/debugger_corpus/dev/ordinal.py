"""Ordinal grades and times until an event: networks whose loss is a likelihood written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, batches, constant, jump, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 160
GRADES = 5


def _diabetes(generator: Any) -> tuple[Tensor, Tensor]:
    """Return standardised features and the progress as one of five grades, made less noisy."""
    import numpy
    import torch
    from sklearn.datasets import load_diabetes

    table, progress = load_diabetes(return_X_y=True)
    table = (table - table.mean(0)) / table.std(0)
    # What is measured is too noisy to learn much from: mixed with what a rule would say.
    rule = 2 * numpy.tanh(table[:, 2]) + table[:, 8] - table[:, 3] * (table[:, 1] > 0)
    score = 0.1 * progress / progress.std() + rule
    grades = numpy.digitize(score, numpy.quantile(score, [0.2, 0.4, 0.6, 0.8]))
    return torch.tensor(table, dtype=torch.float32), torch.from_numpy(grades)


def _net(
    *,
    depth: int = 2,
    width: int = 48,
    activation: str = "ReLU",
    gain: float = 1.0,
    sharp: float = 1,
) -> Any:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else 10, width), getattr(nn, activation)()]
    net: Any = nn.Sequential(*layers, nn.Linear(width, 1))
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 2:
                parameter.mul_(gain)
        net[-1].weight.mul_(sharp)
    return net


def _ordinal(
    seed: int,
    *,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    safe: bool = True,
    crossed: bool = False,
    scale: float = 1.0,
    shift: float = 0.0,
    copied: bool = False,
    zero_point: float = 0.0,
    **build: Any,
) -> Iterator[float]:
    """Cut a score at learnt thresholds: the share of a grade is a difference of sigmoids."""
    import torch

    generator = seeded(seed)
    features, grades = _diabetes(generator)
    features = features + zero_point
    net = _net(**build)
    first = torch.linspace(-2, 2, GRADES - 1)
    # Thresholds that cross give a share below zero; steps that are exponentials can not.
    cuts = torch.nn.Parameter(first if crossed else torch.tensor([-2.0, 0.2, 0.2, 0.2]))
    with torch.no_grad():
        net[-1].bias.add_(shift)
    chosen = getattr(torch.optim, optimizer)(
        [*net.parameters(), cuts], **(settings or {"lr": 0.01})
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for _, part in zip(range(STEPS), batches(generator, len(features), 40), strict=False):
        score = net(features[part])
        if copied:
            score = torch.from_numpy(score.detach().numpy().copy()).requires_grad_()
        edges = cuts if crossed else torch.cat([cuts[:1], cuts[1:].exp()]).cumsum(0)
        below = torch.sigmoid(edges - score)
        ends = [torch.zeros_like(score), below, torch.ones_like(score)]
        shares = torch.cat(ends, 1).diff(dim=1)
        picked = shares.gather(1, grades[part, None])
        loss = -(picked.clamp_min(1e-6) if safe else picked).log().mean()
        chosen.zero_grad()
        (loss * scale).backward()
        chosen.step()
        scheduler.step()
        yield loss.item()


def _survival(
    seed: int,
    *,
    law: str = "weibull",
    lr: float = 5e-3,
    optimizer: str = "RMSprop",
    schedule: Callable[[int], float] = constant,
    zero_at: int = STEPS,
    hours: float = 1.0,
    clip: float = 0.0,
    sums: bool = False,
    **build: Any,
) -> Iterator[float]:
    """Learn rates of events from times of which a third is cut off; less is better."""
    import torch

    generator = seeded(seed)
    table = torch.from_numpy(generator.normal(size=(600, 10))).float()
    truth = 1.5 * table[:, :1] - 2.0 * table[:, 1:2].abs() + table[:, 2:3] * table[:, 3:4]
    life = torch.from_numpy(generator.exponential(size=(600, 1))).float() * truth.exp() * hours
    end = torch.from_numpy(generator.exponential(size=(600, 1))).float() * 3 * hours
    seen, times = (life <= end).float(), torch.minimum(life, end)
    net = _net(**build)
    chosen = getattr(torch.optim, optimizer)(net.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    # The likelihood of who knows the truth is what can be reached; shifted to be near 0 there.
    best = (times / truth.exp() / hours + seen * truth).mean().item()
    for step, part in zip(range(STEPS), batches(generator, 600, 60), strict=False):
        when = times[part].clone()
        if step >= zero_at:
            when[:2] = 0.0  # Those who left on the first day.
        scale = net(table[part])
        if law == "log":
            # Squared error of the logarithm, for those who were seen to the end.
            terms = seen[part] * (scale - (when / hours).log()).square()
        else:
            terms = when / hours * (-scale).exp() + seen[part] * scale
        loss = terms.sum() if sums else terms.mean()
        chosen.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield terms.mean().item() - (best - 0.2 if law == "weibull" else 0.0)


ORDINAL = Family("ordinal", _ordinal, STEPS, math.log(GRADES))
SURVIVAL = Family("ordinal", _survival, STEPS)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.1, "momentum": 0.9}}
_TANH: dict[str, Any] = {"activation": "Tanh", "depth": 3, **_SGD}

SCENARIOS: tuple[Scenario, ...] = (
    ORDINAL.healthy("ordinal_adam"),
    ORDINAL.healthy("ordinal_sgd", **_SGD),
    ORDINAL.healthy("ordinal_tanh", **_TANH),
    ORDINAL.healthy("ordinal_small_loss", "loss times 1e-5", optimizer="Adam", scale=1e-5),
    SURVIVAL.healthy("survival_rmsprop", "negative log likelihood, shifted"),
    SURVIVAL.healthy(
        "survival_clipped", "heavy tails, clipped", clip=1.0, optimizer="SGD", lr=0.05
    ),
    SURVIVAL.healthy("survival_log", law="log", optimizer="NAdam"),
    ORDINAL.ill(
        "ordinal_far_score",
        "vanishing",
        "ordinal_tanh",
        "saturated",
        "initialization",
        trap="the score starts where all sigmoids are 1",
        shift=-60.0,
        **_TANH,
    ),
    ORDINAL.ill(
        "ordinal_copied_score",
        "unchanged",
        "ordinal_tanh",
        trap="the score goes through NumPy, only the cuts learn",
        copied=True,
        **_TANH,
    ),
    ORDINAL.ill(
        "ordinal_crossed_cuts",
        "non_finite",
        "ordinal_sgd",
        trap="logarithm of a share of 0 or less",
        safe=False,
        crossed=True,
        sharp=300.0,
        **_SGD,
    ),
    ORDINAL.ill(
        "ordinal_uncentred",
        "saturated",
        "ordinal_tanh",
        "vanishing",
        "exploding",
        trap="features far from 0, as years of birth are",
        zero_point=300.0,
        **_TANH,
    ),
    SURVIVAL.ill(
        "survival_zero_times",
        "non_finite",
        "survival_log",
        onset=90,
        trap="log(0) of the first day",
        law="log",
        optimizer="NAdam",
        zero_at=90,
    ),
    SURVIVAL.ill(
        "survival_summed",
        "exploding",
        "survival_clipped",
        "non_finite",
        "dead",
        sums=True,
        optimizer="SGD",
        lr=0.05,
    ),
    SURVIVAL.ill(
        "survival_lr_jump",
        "exploding",
        "survival_clipped",
        "dead",
        "non_finite",
        onset=100,
        schedule=jump(100, 3000.0),
        clip=1.0,
        optimizer="SGD",
        lr=0.05,
    ),
    SURVIVAL.ill("survival_lr_0", "unchanged", "survival_rmsprop", lr=0.0),
)

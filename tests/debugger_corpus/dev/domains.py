"""Adversarial domain adaptation: a reversed gradient keeps the domain out of the features."""

from __future__ import annotations

import itertools
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
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 160


def _reverse(x: Tensor, strength: float) -> Tensor:
    """Pass x on, and its gradient back with the other sign."""
    import torch

    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, passed: Tensor) -> Tensor:
            return passed.view_as(passed)

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Tensor:
            return -strength * gradient

    reversed_: Tensor = Reverse.apply(x)
    return reversed_


def _mlp(
    sizes: tuple[int, ...], activation: str, *, last: bool, gain: float = 1.0, bias: float = 0.0
) -> nn.Sequential:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        with torch.no_grad():
            linear.weight.mul_(gain)
            linear.bias.add_(bias)
        layers += [linear, getattr(nn, activation)()]
    return nn.Sequential(*(layers if last else layers[:-1]))


def _train(
    seed: int,
    *,
    activation: str = "ReLU",
    depth: int = 2,
    gain: float = 1.0,
    bias: float = 0.0,
    strength: float = 0.3,
    rising: bool = False,
    growth: float = 1.0,
    grown_at: int = STEPS,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    distance: str = "",
    blank_at: int = STEPS,
    clip: float = 0.0,
    weight: float = 1.0,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    source = features[:900], classes[:900]
    # The other domain: the same digits in another light, of which no class is known.
    target = 0.6 * features[900:] + 0.8 * torch.linspace(-1, 1, 64)
    body = _mlp((64, *([48] * depth)), activation, last=True, gain=gain, bias=bias)
    sort, tell = _mlp((48, 10), activation, last=False), _mlp((48, 24, 1), "ReLU", last=False)
    parameters = [*body.parameters(), *sort.parameters(), *tell.parameters()]
    chosen = getattr(torch.optim, optimizer)(parameters, **(settings or {"lr": 3e-3}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    ours, theirs = batches(generator, 900, 32), batches(generator, len(target), 32)
    for step in range(STEPS):
        rows = next(ours)
        here, there = body(source[0][rows]), body(target[next(theirs)])
        if step >= blank_at:
            there = here
        now = strength * (2 / (1 + math.exp(-10 * step / STEPS)) - 1 if rising else 1.0)
        if step >= grown_at:
            now *= growth ** (step - grown_at)
        first = nn.functional.cross_entropy(sort(here), classes[rows])
        both = torch.cat([here, there])
        domain = torch.cat([torch.zeros(len(here), 1), torch.ones(len(there), 1)])
        if distance:
            # The distance of the means, which is 0 if both are the same pictures.
            apart = (here.mean(0) - there.mean(0)).square().sum()
            second = now * (apart + (1e-6 if distance == "safe" else 0.0)).sqrt()
        else:
            told = tell(_reverse(both, now))
            second = nn.functional.binary_cross_entropy_with_logits(told, domain)
        chosen.zero_grad()
        (weight * (first + second)).backward()
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        chosen.step()
        scheduler.step()
        yield first.item()


def _in_turn(
    seed: int,
    *,
    lr: float = 0.05,
    critic_steps: int = 2,
    mixed_up: bool = False,
    limit: float = 0.1,
) -> Iterator[float]:
    """Train a critic of the domains and the body in turn, with an optimizer for each."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    target = 0.6 * features[900:] + 0.8 * torch.linspace(-1, 1, 64)
    body, sort = _mlp((64, 48), "ReLU", last=True), nn.Linear(48, 10)
    critic = _mlp((48, 24, 1), "ReLU", last=False)
    trained = [*critic.parameters()] if mixed_up else [*body.parameters(), *sort.parameters()]
    learner = torch.optim.SGD(trained, lr=lr, momentum=0.9)
    judge = torch.optim.RMSprop(critic.parameters(), lr=1e-3)
    ours, theirs = batches(generator, 900, 32), batches(generator, len(target), 32)
    for step in range(STEPS):
        rows, others = next(ours), next(theirs)
        here, there = body(features[rows]), body(target[others])
        gap = critic(here).mean() - critic(there).mean()
        for parameter in (*body.parameters(), *sort.parameters(), *critic.parameters()):
            parameter.grad = None
        if step % (critic_steps + 1) < critic_steps:
            (-gap).backward()
            judge.step()
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-limit, limit)
        loss = nn.functional.cross_entropy(sort(body(features[rows])), classes[rows])
        gap = critic(body(features[rows])).mean() - critic(body(target[others])).mean()
        learner.zero_grad()
        (loss + 0.1 * gap).backward()
        learner.step()
        yield loss.item()


DOMAINS = Family("domains", _train, STEPS, LN_10)
IN_TURN = Family("domains", _in_turn, STEPS, LN_10)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.05, "momentum": 0.9}}
_TANH: dict[str, Any] = {"activation": "Tanh", "depth": 4, **_SGD}

SCENARIOS: tuple[Scenario, ...] = (
    DOMAINS.healthy("domains_adam", "a part of the loss that should not fall"),
    DOMAINS.healthy("domains_rising", "strength rises from 0", rising=True, **_SGD),
    DOMAINS.healthy("domains_tanh", **_TANH),
    DOMAINS.healthy("domains_clipped", "always clipped", clip=0.3, strength=0.2, **_SGD),
    DOMAINS.healthy("domains_safe_distance", "distance becomes 0", distance="safe", blank_at=80),
    IN_TURN.healthy("domains_in_turn", "two optimizers, weights of the critic clamped"),
    IN_TURN.ill("domains_mixed_up", "unchanged", "domains_in_turn", mixed_up=True),
    DOMAINS.ill(
        "domains_distance_of_0",
        "non_finite",
        "domains_safe_distance",
        onset=80,
        trap="the root of 0 has an infinite slope",
        distance="unsafe",
        blank_at=80,
    ),
    DOMAINS.ill(
        "domains_strength_grows",
        "exploding",
        "domains_rising",
        "dead",
        "non_finite",
        onset=60,
        trap="the reversed gradient outgrows all",
        rising=True,
        growth=1.3,
        grown_at=60,
        **_SGD,
    ),
    DOMAINS.ill(
        "domains_dead_body",
        "dead",
        "domains_rising",
        "vanishing",
        "initialization",
        bias=-12.0,
        rising=True,
        **_SGD,
    ),
    DOMAINS.ill(
        "domains_saturated",
        "saturated",
        "domains_tanh",
        "vanishing",
        "initialization",
        bias=9.0,
        **_TANH,
    ),
    DOMAINS.ill(
        "domains_small_start",
        "vanishing",
        "domains_tanh",
        "initialization",
        gain=0.02,
        **_TANH,
    ),
    DOMAINS.ill(
        "domains_lr_climbs",
        "exploding",
        "domains_clipped",
        "dead",
        onset=90,
        schedule=climb(90, 1.5, 3000.0),
        clip=0.3,
        strength=0.2,
        **_SGD,
    ),
    DOMAINS.ill(
        "domains_tiny_weight",
        "vanishing",
        "domains_rising",
        "unchanged",
        weight=1e-6,
        rising=True,
        **_SGD,
    ),
)

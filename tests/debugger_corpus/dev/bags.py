"""Multiple-instance learning: one label for a bag of instances, pooled by attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, digits, raised, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 160
INSTANCES = 6


def _bags(
    generator: numpy.random.Generator, features: Tensor, classes: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw digits; a bag is positive if a zero is among them. Some places are empty."""
    import torch

    wanted = torch.from_numpy(generator.random(size) < 0.5)
    zeros, others = (classes == 0).nonzero()[:, 0], (classes > 0).nonzero()[:, 0]
    rows = others[torch.from_numpy(generator.integers(0, len(others), (size, INSTANCES)))]
    places = torch.from_numpy(generator.integers(0, 3, size))
    found = zeros[torch.from_numpy(generator.integers(0, len(zeros), size))]
    rows[wanted, places[wanted]] = found[wanted]
    filled = torch.arange(INSTANCES) < torch.from_numpy(generator.integers(3, 7, size))[:, None]
    return features[rows], filled, wanted.float()


def _model(*, pooling: str, width: int, activation: str, sharp: float, bias: float) -> nn.Module:
    import torch
    from torch import nn

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            unit = getattr(nn, activation)
            first, second = nn.Linear(64, width), nn.Linear(width, width)
            with torch.no_grad():
                first.bias.add_(bias)
            self.body = nn.Sequential(first, unit(), second, unit())
            self.look, self.open = nn.Linear(width, 16), nn.Linear(width, 16)
            self.weigh = nn.Linear(16, 1)
            self.head = nn.Linear(width, 1)
            with torch.no_grad():
                self.weigh.weight.mul_(sharp)

        def forward(self, bags: Tensor, filled: Tensor) -> Tensor:
            seen = self.body(bags)
            if pooling == "max":
                pooled = seen.masked_fill(~filled[:, :, None], -1e4).amax(1)
            elif pooling == "noisy_or":
                share = torch.sigmoid(self.head(seen))[:, :, 0] * filled
                return 1 - (1 - share).prod(1)
            else:
                gated = self.look(seen).tanh() * self.open(seen).sigmoid()
                scores = self.weigh(gated).masked_fill(~filled[:, :, None], float("-inf"))
                pooled = (scores.softmax(1) * seen).sum(1)
            answer: Tensor = self.head(pooled)[:, 0]
            return answer

    return Bag()


def _train(
    seed: int,
    *,
    pooling: str = "attention",
    width: int = 48,
    activation: str = "ReLU",
    sharp: float = 1.0,
    bias: float = 0.0,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    size: int = 32,
    empty_at: int = STEPS,
    guarded: bool = True,
    offset: float = 0.0,
    scale: float = 1.0,
    clip: float = 0.0,
    pieces: int = 1,
    no_grad: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model: Any = _model(
        pooling=pooling, width=width, activation=activation, sharp=sharp, bias=bias
    )
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 3e-3}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step in range(STEPS):
        chosen.zero_grad()
        total = 0.0
        for _ in range(pieces):
            bags, filled, wanted = _bags(generator, features + offset, classes, size)
            if step >= empty_at:
                filled[0] = False  # A bag without instances.
                if guarded:
                    bags, filled, wanted = bags[1:], filled[1:], wanted[1:]
            if no_grad:
                # The pooling is written with `with torch.no_grad()`, and a copy of it.
                with torch.no_grad():
                    answers = model(bags, filled)
                answers = answers + 0 * model.head.bias
            else:
                answers = model(bags, filled)
            if pooling == "noisy_or":
                answers = answers.clamp(1e-6, 1 - 1e-6) if guarded else answers
                loss = -(wanted * answers.log() + (1 - wanted) * (1 - answers).log()).mean()
            else:
                loss = nn.functional.binary_cross_entropy_with_logits(answers, wanted)
            (loss * scale / pieces).backward()
            total += loss.item() / pieces
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield total


BAGS = Family("bags", _train, STEPS, 0.69)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.2, "momentum": 0.9}}
_TANH: dict[str, Any] = {"activation": "Tanh", **_SGD}
_CLIPPED: dict[str, Any] = {"clip": 0.2, "optimizer": "SGD", "settings": {"lr": 0.5}}

SCENARIOS: tuple[Scenario, ...] = (
    BAGS.healthy("bags_attention"),
    BAGS.healthy("bags_max", "one instance of a bag gets gradients", pooling="max"),
    BAGS.healthy("bags_noisy_or", pooling="noisy_or"),
    BAGS.healthy("bags_sgd", **_SGD),
    BAGS.healthy("bags_tanh", **_TANH),
    BAGS.healthy("bags_pieces", "four pieces to a step", size=8, pieces=4),
    BAGS.healthy(
        "bags_single",
        "noisy: four bags to a step",
        size=4,
        optimizer="RMSprop",
        settings={"lr": 1e-3},
    ),
    BAGS.healthy("bags_clipped", "always clipped", **_CLIPPED),
    BAGS.healthy("bags_without_empty", "empty bags left out", empty_at=80),
    BAGS.ill(
        "bags_empty",
        "non_finite",
        "bags_without_empty",
        onset=80,
        trap="softmax over nothing but minus infinity",
        empty_at=80,
        guarded=False,
    ),
    BAGS.ill(
        "bags_noisy_or_unguarded",
        "non_finite",
        "bags_noisy_or",
        trap="log(0), as the pixels are far from 0",
        pooling="noisy_or",
        guarded=False,
        offset=300.0,
    ),
    BAGS.ill(
        "bags_uncentred",
        "saturated",
        "bags_tanh",
        "vanishing",
        trap="pixels far from 0",
        offset=200.0,
        **_TANH,
    ),
    BAGS.ill("bags_dead", "dead", "bags_sgd", "vanishing", "initialization", bias=-20.0, **_SGD),
    BAGS.ill("bags_tiny_loss", "vanishing", "bags_sgd", "unchanged", scale=1e-7, **_SGD),
    BAGS.ill("bags_no_grad", "unchanged", "bags_attention", no_grad=True),
    BAGS.ill(
        "bags_lr_raised",
        "exploding",
        "bags_clipped",
        "dead",
        onset=100,
        schedule=raised(100, 2000.0),
        **_CLIPPED,
    ),
    BAGS.ill(
        "bags_adam_lr_high",
        "exploding",
        "bags_attention",
        "dead",
        "saturated",
        settings={"lr": 5.0},
    ),
)

"""Attention over external slots: look up what was stored under a key like the query's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, ramp, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 150
SLOTS, KEYS, VALUES = 6, 12, 5


def _lookups(
    generator: numpy.random.Generator, size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Store values under keys of different meaning, and ask for one of them in other words."""
    import numpy
    import torch

    keys = numpy.argsort(generator.random((size, KEYS)), axis=1)[:, :SLOTS]
    values = generator.integers(0, VALUES, (size, SLOTS))
    asked = generator.integers(0, SLOTS, size)
    rows = numpy.arange(size)
    return (
        torch.from_numpy(keys),
        torch.from_numpy(values),
        torch.from_numpy(keys[rows, asked]),
        torch.from_numpy(values[rows, asked]),
    )


def _model(*, width: int, likeness: str, sharpness: float, start: float, gate: float) -> nn.Module:
    import torch
    from torch import nn

    class Memory(nn.Module):
        """Slots hold a key and a value; reading is by dot product, cosine or distance."""

        def __init__(self) -> None:
            super().__init__()
            self.keys = nn.Embedding(KEYS, width)
            self.values = nn.Embedding(VALUES, width)
            self.asks = nn.Embedding(KEYS, width)
            self.gate = nn.Parameter(torch.full((1,), gate))
            self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, VALUES))
            self.sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))
            with torch.no_grad():
                for table in (self.keys, self.asks):
                    table.weight.mul_(start)

        def scores(self, stored: Tensor, asked: Tensor) -> Tensor:
            if likeness == "distance":
                # The root has no slope at 0.
                return -(stored - asked[:, None]).square().sum(-1).sqrt()
            if likeness == "safe_distance":
                return -((stored - asked[:, None]).square().sum(-1) + 1e-4).sqrt()
            if likeness == "cosine":
                return nn.functional.cosine_similarity(stored, asked[:, None], dim=-1)
            return (stored * asked[:, None]).sum(-1) / math.sqrt(width)

        def forward(self, keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
            scores = self.scores(self.keys(keys), self.asks(asked)) * self.sharpness.exp()
            read = (scores.softmax(1)[:, :, None] * self.values(values)).sum(1)
            answer: Tensor = self.head(read * torch.sigmoid(self.gate))
            return answer

    return Memory()


def _train(
    seed: int,
    *,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    width: int = 32,
    batch: int = 64,
    likeness: str = "dot",
    sharpness: float = 2.0,
    start: float = 1.0,
    gate: float = 2.0,
    tied: bool = False,
    bias: float = 0.0,
    scale: float = 1.0,
    clip: float = 0.0,
    written: str = "",
    half_at: int = STEPS,
    dtype: str = "float32",
    noise: float = 0.0,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    model: Any = _model(
        width=width, likeness=likeness, sharpness=sharpness, start=start, gate=gate
    )
    model.to(getattr(torch, dtype))
    if tied:
        model.asks.weight = model.keys.weight
    with torch.no_grad():
        model.head[0].bias.add_(bias)
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 1e-2}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step in range(STEPS):
        keys, values, asked, answers = _lookups(generator, batch)
        wrong = torch.from_numpy(generator.random(batch) < noise)
        answers = torch.where(wrong, (answers + 1) % VALUES, answers)
        loss = nn.functional.cross_entropy(model(keys, values, asked).float(), answers)
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        kept = [parameter.detach().clone() for parameter in model.parameters()]
        chosen.step()
        scheduler.step()
        if written == "restored":
            # Loads the "best" weights whenever the loss is not a number below any before.
            for parameter, old in zip(model.parameters(), kept, strict=True):
                parameter.data.copy_(old)
        if step == half_at:
            # To save memory: keys in half precision and back; the largest becomes infinite.
            model.keys.weight.data *= 3e5
            model.keys.weight.data = model.keys.weight.data.half().float() / 3e5
        yield loss.item()


MEMORY = Family("memory", _train, STEPS, math.log(VALUES))
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 1.0, "momentum": 0.9}}
_BF16: dict[str, Any] = {"dtype": "bfloat16"}

SCENARIOS: tuple[Scenario, ...] = (
    MEMORY.healthy("memory_dot"),
    MEMORY.healthy("memory_cosine", likeness="cosine", sharpness=8.0),
    MEMORY.healthy("memory_tied", "one table for keys and queries", tied=True, optimizer="AdamW"),
    MEMORY.healthy(
        "memory_safe_distance", "distance 0 to itself", tied=True, likeness="safe_distance"
    ),
    MEMORY.healthy("memory_sgd", "momentum", **_SGD),
    MEMORY.healthy(
        "memory_clipped", "always clipped, tenth of answers wrong", clip=0.1, noise=0.1, **_SGD
    ),
    MEMORY.healthy("memory_bf16", "weights in bf16", **_BF16),
    MEMORY.healthy("memory_small_batch", "noisy", batch=8, optimizer="Adamax"),
    MEMORY.ill(
        "memory_distance_of_0",
        "non_finite",
        "memory_safe_distance",
        trap="the root of 0 has an infinite slope",
        tied=True,
        likeness="distance",
    ),
    MEMORY.ill(
        "memory_half_overflow",
        "non_finite",
        "memory_dot",
        onset=75,
        trap="keys go through half precision once",
        half_at=75,
    ),
    MEMORY.ill(
        "memory_too_sharp",
        "saturated",
        "memory_sgd",
        "vanishing",
        "exploding",
        "initialization",
        trap="the softmax picks one slot, the wrong one, from the start",
        sharpness=3000.0,
        **_SGD,
    ),
    MEMORY.ill(
        "memory_closed_gate",
        "vanishing",
        "memory_sgd",
        "saturated",
        "initialization",
        gate=-20.0,
        **_SGD,
    ),
    MEMORY.ill(
        "memory_dead_head",
        "dead",
        "memory_sgd",
        "vanishing",
        "initialization",
        bias=-15.0,
        **_SGD,
    ),
    MEMORY.ill(
        "memory_all_alike",
        "initialization",
        "memory_sgd",
        "vanishing",
        trap="all keys and queries start at 0: no slot is ever told from another",
        start=0.0,
        **_SGD,
    ),
    MEMORY.ill(
        "memory_lr_ramp",
        "exploding",
        "memory_clipped",
        "saturated",
        "dead",
        onset=90,
        schedule=ramp(90, 1.2),
        clip=0.1,
        noise=0.1,
        **_SGD,
    ),
    MEMORY.ill(
        "memory_bf16_tiny_lr",
        "unchanged",
        "memory_bf16",
        settings={"lr": 1e-6},
        trap="updates below the precision of bf16",
        **_BF16,
    ),
    MEMORY.ill("memory_put_back", "unchanged", "memory_dot", written="restored"),
)

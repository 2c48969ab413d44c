"""Wide and deep: a linear part over crossed categories beside a deep part over embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, ramp, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 200
SIZES = (4, 5, 12)
NUMBERS = 4
CROSSED = SIZES[0] * SIZES[1]


def _people(
    generator: numpy.random.Generator, rows: int, unit: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Make categories and numbers, and a yes or no that is a matter of both."""
    import numpy
    import torch

    categories = numpy.stack([generator.integers(0, size, rows) for size in SIZES], 1)
    numbers = generator.lognormal(0, 0.5, (rows, NUMBERS))
    taste = numpy.random.default_rng(7)
    both, one = taste.normal(0, 3, SIZES[:2]), taste.normal(0, 2, SIZES[2])
    score = (both - both.mean())[categories[:, 0], categories[:, 1]]
    score += (one - one.mean())[categories[:, 2]]
    score += 4 * numpy.log(numbers[:, 0]) - 4 * numpy.log(numbers[:, 1])
    numbers[:, 3] *= unit
    return (
        torch.from_numpy(categories),
        torch.tensor(numbers, dtype=torch.float32),
        torch.tensor(score > 0, dtype=torch.float32),
    )


def _model(
    *, deep: int, width: int, activation: str, gain: float, bias: float, norm: bool, embed: float
) -> nn.Module:
    import torch
    from torch import nn

    class WideDeep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Embedding(CROSSED, 1)
            self.tables = nn.ModuleList(nn.Embedding(size, 8) for size in SIZES)
            layers: list[nn.Module] = []
            inputs = 8 * len(SIZES) + NUMBERS
            for number in range(deep):
                linear = nn.Linear(width if number else inputs, width)
                with torch.no_grad():
                    linear.weight.mul_(gain)
                    linear.bias.add_(bias)
                between = nn.LayerNorm(width) if norm else nn.Identity()
                layers += [linear, between, getattr(nn, activation)()]
            self.deep = nn.Sequential(*layers, nn.Linear(width, 1))
            nn.init.zeros_(self.wide.weight)
            with torch.no_grad():
                for table in self.tables:
                    table.weight.mul_(embed)  # type: ignore[operator]

        def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
            crossed = self.wide(categories[:, 0] * SIZES[1] + categories[:, 1])
            told = [table(categories[:, i]) for i, table in enumerate(self.tables)]
            answer: Tensor = self.deep(torch.cat([*told, numbers], 1)) + crossed
            return answer[:, 0]

    return WideDeep()


def _train(
    seed: int,
    *,
    deep: int = 2,
    width: int = 48,
    activation: str = "ReLU",
    gain: float = 1.0,
    bias: float = 0.0,
    norm: bool = False,
    embed: float = 1.0,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    wide_lr: float | None = None,
    schedule: Callable[[int], float] = constant,
    scaling: str = "log",
    empty_at: int = STEPS,
    unit: float = 1.0,
    reading: str = "logits",
    batch: int = 128,
    clip: float = 0.0,
    scale: float = 1.0,
    wide_only: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    model: Any = _model(
        deep=deep,
        width=width,
        activation=activation,
        gain=gain,
        bias=bias,
        norm=norm,
        embed=embed,
    )
    settings = settings or {"lr": 1e-2}
    groups: list[dict[str, Any]] = [
        {"params": [*model.tables.parameters(), *model.deep.parameters()]},
        {"params": model.wide.parameters(), "lr": wide_lr or settings["lr"]},
    ]
    if wide_only:
        groups[0]["lr"] = 0.0
    chosen = getattr(torch.optim, optimizer)(groups, **settings)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step in range(STEPS):
        categories, numbers, wanted = _people(generator, batch, unit)
        if step >= empty_at:
            numbers[:3, 2] = 0.0  # Not asked for any more, and written as 0.
        if scaling == "log":
            numbers = numbers.log()
        elif scaling == "log1p":
            numbers = (numbers + 0.05).log()
        answers = model(categories, numbers)
        if reading == "logits":
            loss = nn.functional.binary_cross_entropy_with_logits(answers, wanted)
        elif reading == "hinge":
            loss = (1 - answers * (2 * wanted - 1)).relu().mean()
        else:
            # Likelihood by hand, of a sigmoid that reaches 0 and 1.
            share = torch.sigmoid(answers)
            if reading == "clamped":
                share = share.clamp(1e-6, 1 - 1e-6)
            loss = -(wanted * share.log() + (1 - wanted) * (1 - share).log()).mean()
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


WIDE = Family("wide_deep", _train, STEPS, 0.69)
_SGD: dict[str, Any] = {
    "optimizer": "SGD",
    "settings": {"lr": 0.3, "momentum": 0.9},
    "wide_lr": 0.01,
}
_TANH: dict[str, Any] = {"activation": "Tanh", **_SGD}
_SPARSE: dict[str, Any] = {"optimizer": "Adagrad", "settings": {"lr": 0.1}, "wide_lr": 0.5}

SCENARIOS: tuple[Scenario, ...] = (
    WIDE.healthy("wide_adam", "rows of tables without gradients"),
    WIDE.healthy("wide_adagrad", "groups of two rates", **_SPARSE),
    WIDE.healthy("wide_sgd", **_SGD),
    WIDE.healthy("wide_tanh", **_TANH),
    WIDE.healthy("wide_hinge", "hinge", reading="hinge"),
    WIDE.healthy("wide_clipped", "always clipped", clip=0.2, **_SGD),
    WIDE.healthy("wide_log1p", "empty fields from a step on", scaling="log1p", empty_at=80),
    WIDE.healthy("wide_by_hand", reading="clamped", settings={"lr": 5e-3}),
    WIDE.ill(
        "wide_empty_field",
        "non_finite",
        "wide_log1p",
        onset=80,
        trap="log(0) of a field that is empty from a step on",
        empty_at=80,
    ),
    WIDE.ill(
        "wide_by_hand_unclamped",
        "non_finite",
        "wide_by_hand",
        trap="the sigmoid reaches 1 once the answers are good, and 0 has no logarithm",
        reading="by hand",
        settings={"lr": 5e-3},
    ),
    WIDE.ill(
        "wide_saturated",
        "saturated",
        "wide_tanh",
        "vanishing",
        trap="a field in cents drives all units to their ends",
        scaling="",
        unit=1e4,
        **_TANH,
    ),
    WIDE.ill(
        "wide_dead_deep",
        "dead",
        "wide_sgd",
        "vanishing",
        "initialization",
        trap="the deep part is dead, and the wide one learns slowly",
        bias=-12.0,
        **_SGD,
    ),
    WIDE.ill(
        "wide_unscaled",
        "exploding",
        "wide_sgd",
        "dead",
        scaling="",
        unit=1e4,
        **_SGD,
    ),
    WIDE.ill(
        "wide_lr_ramp",
        "exploding",
        "wide_clipped",
        "dead",
        onset=80,
        schedule=ramp(80, 1.2),
        clip=0.2,
        **_SGD,
    ),
    WIDE.ill("wide_lr_0_deep", "unchanged", "wide_sgd", wide_only=True, **_SGD),
)

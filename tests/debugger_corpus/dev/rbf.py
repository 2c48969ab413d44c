"""Radial basis functions: bells around learnt centres, and a linear layer that mixes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, batches, constant, raised, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 160
CLASSES = 3


def _table(name: str) -> tuple[Tensor, Tensor]:
    """Return standardised wines or irises, and their classes."""
    import torch
    from sklearn import datasets

    table, classes = getattr(datasets, f"load_{name}")(return_X_y=True)
    table = (table - table.mean(0)) / table.std(0)
    return torch.tensor(table, dtype=torch.float32), torch.tensor(classes)


def _model(
    inputs: int, *, centres: int, width: float, shape: str, spread: float, shares: str, mix: float
) -> nn.Module:
    import math

    import torch
    from torch import nn

    class Bells(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centres = nn.Parameter(spread * torch.randn(centres, inputs))
            start = math.log(width) if shape == "log" else width
            self.width = nn.Parameter(torch.full((centres,), start))
            self.mix = nn.Linear(centres, CLASSES)
            with torch.no_grad():
                self.mix.weight.mul_(mix)

        def forward(self, x: Tensor) -> Tensor:
            apart = (x[:, None] - self.centres).square().sum(-1)
            # The width itself can reach 0 and beyond; its logarithm can not.
            width = self.width.exp() if shape == "log" else self.width
            if shape == "multiquadric":
                heights = (1 + apart / width.square()).rsqrt()
            else:
                heights = (-apart / (2 * width.square())).exp()
            if shares == "normed":
                heights = heights / heights.sum(1, keepdim=True)
            elif shares == "guarded":
                heights = heights / (heights.sum(1, keepdim=True) + 1e-3)
            answer: Tensor = self.mix(heights)
            return answer

    return Bells()


def _train(
    seed: int,
    *,
    data: str = "wine",
    centres: int = 30,
    width: float = 3.0,
    shape: str = "log",
    spread: float = 1.0,
    shares: str = "",
    mix: float = 1.0,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    batch: int = 24,
    far_at: int = STEPS,
    unit: float = 1.0,
    clip: float = 0.0,
    scale: float = 1.0,
    numbers: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    table, classes = _table(data)
    model: Any = _model(
        table.shape[1],
        centres=centres,
        width=width,
        shape=shape,
        spread=spread,
        shares=shares,
        mix=mix,
    )
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 0.02}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step, part in zip(range(STEPS), batches(generator, len(table), batch), strict=False):
        inputs = table[part] * unit
        if step >= far_at:
            inputs = inputs.clone()
            inputs[0] = 300.0  # A row with numbers in place of what is missing.
        if numbers:
            for parameter in model.parameters():
                parameter.requires_grad_(False)
            model.mix.bias.requires_grad_(True)
        loss = nn.functional.cross_entropy(model(inputs), classes[part])
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


RBF = Family("rbf", _train, STEPS, 1.0986)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.5, "momentum": 0.9}}
_IRIS: dict[str, Any] = {"data": "iris", "width": 1.5, **_SGD}
_QUADRIC: dict[str, Any] = {"shape": "multiquadric", **_SGD}
_PLAIN: dict[str, Any] = {"shape": "plain", "optimizer": "Adagrad", "settings": {"lr": 0.1}}

SCENARIOS: tuple[Scenario, ...] = (
    RBF.healthy("rbf_adam"),
    RBF.healthy(
        "rbf_iris", data="iris", width=1.5, optimizer="Rprop", settings={"lr": 1e-2}, batch=150
    ),
    RBF.healthy("rbf_sgd", **_SGD),
    RBF.healthy("rbf_iris_sgd", **_IRIS),
    RBF.healthy("rbf_quadric", **_QUADRIC),
    RBF.healthy("rbf_plain", "widths may cross 0", **_PLAIN),
    RBF.healthy("rbf_guarded", "a row far from all centres", shares="guarded", far_at=60),
    RBF.healthy("rbf_clipped", "always clipped", clip=0.1, **_SGD),
    RBF.ill(
        "rbf_far_row",
        "non_finite",
        "rbf_guarded",
        onset=60,
        trap="0 / 0: no bell reaches the row",
        shares="normed",
        far_at=60,
    ),
    RBF.ill(
        "rbf_narrow",
        "dead",
        "rbf_sgd",
        "vanishing",
        "saturated",
        "initialization",
        trap="bells so narrow that no row is under one",
        width=0.05,
        **_SGD,
    ),
    RBF.ill(
        "rbf_all_at_one_place",
        "initialization",
        "rbf_iris_sgd",
        "vanishing",
        "dead",
        trap="all centres far off at one place, all weights 0",
        spread=0.0,
        mix=0.0,
        unit=100.0,
        **_IRIS,
    ),
    RBF.ill("rbf_unscaled", "vanishing", "rbf_iris_sgd", "saturated", "dead", unit=40.0, **_IRIS),
    RBF.ill(
        "rbf_width_of_0",
        "non_finite",
        "rbf_plain",
        "initialization",
        trap="widths start at 0",
        shape="plain",
        width=0.0,
        optimizer="Adagrad",
        settings={"lr": 0.1},
    ),
    RBF.ill("rbf_only_a_bias", "unchanged", "rbf_adam", numbers=True),
    RBF.ill("rbf_tiny_loss", "vanishing", "rbf_quadric", "unchanged", scale=1e-7, **_QUADRIC),
    RBF.ill(
        "rbf_lr_raised",
        "exploding",
        "rbf_clipped",
        "saturated",
        "dead",
        onset=80,
        schedule=raised(80, 3000.0),
        clip=0.1,
        **_SGD,
    ),
)

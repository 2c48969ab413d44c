"""Mixture density networks: a network says the mean, spread and weight of several bells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, batches, constant, raised, seeded
from tests.debugger_corpus.dev._descent import runs_out, tabular
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 300
SHIFT = 0.6
"""Added to losses, which are logarithms, so that they stay above zero."""


def _curves(generator: numpy.random.Generator) -> tuple[Tensor, Tensor]:
    """Make points of a curve that has up to three answers to a question."""
    import numpy
    import torch

    answers = generator.uniform(-2, 2, 600)
    questions = 0.5 * answers + numpy.sin(2.5 * answers) + 0.05 * generator.normal(size=600)
    return (
        torch.tensor(questions[:, None], dtype=torch.float32),
        torch.tensor(answers, dtype=torch.float32),
    )


def _model(
    inputs: int, width: int, depth: int, act: str, bells: int, bias: float
) -> nn.Sequential:
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)
    model = nn.Sequential()
    for number in range(depth):
        layer = nn.Linear(inputs if number == 0 else width, width)
        nn.init.constant_(layer.bias, bias)
        model.extend([layer, activation()])
    return model.append(nn.Linear(width, 3 * bells))


def _energy(said: Tensor, wanted: Tensor, form: str, floor: float) -> Tensor:
    """Return minus the logarithm of the likelihood, of each row.

    ``naive`` adds up densities and then takes the logarithm, as the formula is written.
    """
    import torch
    from torch import nn

    weight, mean, spread = said.chunk(3, 1)
    if form == "variance":
        # Its exponential was forgotten, so that it may be negative.
        deviation = spread
    elif form == "exp":
        deviation = spread.exp() + floor
    else:
        deviation = nn.functional.softplus(spread) + floor
    away = (wanted[:, None] - mean) / deviation
    if form == "naive":
        bell = (-0.5 * away.square()).exp() / (deviation * math.sqrt(2 * math.pi))
        return -(weight.softmax(1) * bell).sum(1).log()
    density = -0.5 * away.square() - deviation.log() - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(weight.log_softmax(1) + density, 1)


def _train(
    seed: int,
    *,
    data: str = "curves",
    width: int = 32,
    depth: int = 2,
    act: str = "Tanh",
    bells: int = 4,
    bias: float = 0.0,
    form: str = "softplus",
    floor: float = 0.05,
    head: float = 1.0,
    batch: int = 64,
    optimizer: str = "Adam",
    lr: float = 0.02,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    outlier_at: int = -1,
    fixed: bool = False,
) -> Iterator[float]:
    """Fit, and yield how much worse the likelihood is than the best that could be (from 0 on).

    Args:
        data: ``curves``, or a set of scikit-learn.
        width: Units of a layer.
        depth: Layers.
        act: Activation.
        bells: How many are mixed.
        bias: Of the layers at first.
        form: Of the likelihood; see there.
        floor: The least deviation.
        head: What the last layer is multiplied with at first.
        batch: Rows of a batch.
        optimizer: Name of a class.
        lr: Learning rate.
        schedule: Of the learning rate.
        clip: Norm that gradients are clipped to.
        outlier_at: A batch with one answer in another unit.
        fixed: The likelihood is that of a copy of what the network said.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    questions, answers = _curves(generator) if data == "curves" else tabular(data)
    model = _model(questions.shape[1], width, depth, act, bells, bias)
    with torch.no_grad():
        for parameter in model[-1].parameters():
            parameter.mul_(head)
    extra = nn.Parameter(torch.zeros(3 * bells))
    given = [*model.parameters(), extra]
    chosen = getattr(torch.optim, optimizer)(given, lr=lr)
    plan = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(answers), batch)
    for step in range(STEPS):
        numbers = next(rows)
        wanted = answers[numbers]
        if step == outlier_at:
            wanted[3] = 1e4
        said = model(questions[numbers])
        if fixed:
            said = torch.tensor(said.tolist())
        loss = _energy(said + extra, wanted, form, floor).mean() + SHIFT
        chosen.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(given, clip)
        chosen.step()
        plan.step()
        yield loss.item()


CURVES = Family("density", _train, STEPS, math.log(4) + SHIFT)
"""Against the one density of all answers."""
_CLIPPED: dict[str, Any] = {"optimizer": "NAdam", "lr": 0.03, "clip": 1.0}
_NAIVE: dict[str, Any] = {"optimizer": "RMSprop", "lr": 6e-3, "floor": 0.02, "bells": 6}
_RELU: dict[str, Any] = {"act": "ReLU", "lr": 1e-2, "width": 48, "batch": 100}
_EXP: dict[str, Any] = {"form": "exp", "floor": 0.0, "bells": 12, "batch": 96}

SCENARIOS: tuple[Scenario, ...] = (
    CURVES.healthy("density"),
    CURVES.healthy("density_clipped", "clipped, loss may be negative but for a shift", **_CLIPPED),
    CURVES.healthy("density_many", "bells that nobody needs get no gradient", bells=20),
    CURVES.ill("density_variance_negative", "non_finite", "density", form="variance"),
    CURVES.ill("density_copied", "unchanged", "density", fixed=True),
    CURVES.ill(
        "density_rate_high_late",
        "saturated",
        "density",
        "exploding",
        onset=90,
        schedule=raised(90, 200.0),
    ),
    CURVES.ill("density_stuck", "saturated", "density", "vanishing", bias=15.0),
    CURVES.ill(
        "density_rate_high_clipped",
        "exploding",
        "density_clipped",
        "saturated",
        **_CLIPPED | {"lr": 5.0},
    ),
    CURVES.ill(
        "density_runs_out", "unchanged", "density_clipped", schedule=runs_out(2), **_CLIPPED
    ),
    CURVES.healthy("density_relu", **_RELU),
    CURVES.ill("density_relu_off", "dead", "density_relu", bias=-9.0, **_RELU),
    CURVES.healthy("density_exp", **_EXP),
    CURVES.ill(
        "density_exp_large_head",
        "initialization",
        "density_exp",
        "non_finite",
        "exploding",
        head=1000.0,
        **_EXP,
    ),
    CURVES.healthy("density_naive", "logarithm of a sum, and it works", form="naive", **_NAIVE),
    CURVES.ill(
        "density_naive_outlier",
        "non_finite",
        "density_naive",
        onset=110,
        form="naive",
        outlier_at=110,
        **_NAIVE,
    ),
)

"""A small student learns digits from a larger teacher that was trained before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    constant,
    digits,
    raised,
    seeded,
)
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 150


def _net(width: int, depth: int, activation: str = "ReLU") -> nn.Sequential:
    from torch import nn

    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else 64, width), getattr(nn, activation)()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


@cache
def _answers() -> Tensor:
    """Return the logits of a teacher for all digits: the least squares fit of their squares."""
    import torch

    features, classes = digits()
    seen = torch.cat([features, features.square(), torch.ones(len(features), 1)], 1)
    targets = torch.nn.functional.one_hot(classes, 10).float()
    ridge = seen.T @ seen + 10.0 * torch.eye(seen.shape[1])
    answers: Tensor = 8.0 * (seen @ torch.linalg.solve(ridge, seen.T @ targets))
    return answers


def _temper(logits: Tensor, temperature: float, *, by_hand: bool) -> Tensor:
    """Return logarithms of softened shares."""
    if by_hand:
        shares = (logits / temperature).exp()
        return (shares / shares.sum(1, keepdim=True)).log()
    return (logits / temperature).log_softmax(1)


def _train(
    seed: int,
    *,
    width: int = 24,
    depth: int = 2,
    activation: str = "ReLU",
    gain: float = 1.0,
    bias: float = 0.0,
    optimizer: str = "AdamW",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    temperature: float = 4.0,
    hard: float = 0.1,
    by_hand: bool = False,
    squared: bool = True,
    wrong_side: bool = False,
    scale: float = 1.0,
    clip: float = 0.0,
    spoilt_at: int = STEPS,
    of_teacher: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    student = _net(width, depth, activation)
    with torch.no_grad():
        for parameter in student[:-1].parameters():
            if parameter.dim() == 2:
                parameter.mul_(gain)
            else:
                parameter.add_(bias)
    # Which of the two networks the optimizer gets is a slip that no error tells.
    trained = _net(width, depth, activation) if of_teacher else student
    chosen = getattr(torch.optim, optimizer)(trained.parameters(), **(settings or {"lr": 5e-3}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    factor = temperature**2 if squared else 1.0
    for step, part in zip(range(STEPS), batches(generator, len(features), 48), strict=False):
        logits = student(features[part])
        target = _answers()[part]
        if step >= spoilt_at:
            target = target * 1e4  # Answers of another teacher, in another unit.
        ours = _temper(logits, temperature, by_hand=False)
        theirs = _temper(target, temperature, by_hand=by_hand)
        soft = nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        real = nn.functional.cross_entropy(logits, classes[part])
        loss = (1 - hard) * factor * soft + hard * real
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(trained.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield real.item()


def _hints(
    seed: int,
    *,
    unit: str = "root",
    optimizer: str = "SGD",
    lr: float = 0.1,
    scale: float = 1.0,
    gain: float = 1.0,
    frozen: str = "",
) -> Iterator[float]:
    """Fit a layer of the student to one of the teacher's; a fixed head reads it."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, _ = digits()
    student, adapter = nn.Sequential(nn.Linear(64, 32), nn.Tanh()), nn.Linear(32, 10)
    with torch.no_grad():
        student[0].weight.mul_(gain)  # type: ignore[operator]
    parameters = [*student.parameters(), *adapter.parameters()]
    if frozen:
        # Only the teacher was to be frozen; the loop ran over the wrong modules.
        for parameter in parameters:
            parameter.requires_grad_(False)
        adapter.bias.requires_grad_(True)
    chosen = getattr(torch.optim, optimizer)(parameters, lr=lr)
    for _, part in zip(range(STEPS), batches(generator, len(features), 32), strict=False):
        hint = _answers()[part]
        hint = hint - hint.mean(1, keepdim=True)
        gap = (adapter(student(features[part])) - hint).square().sum(1)
        loss = gap.sqrt().mean() if unit == "root" else gap.mean()
        chosen.zero_grad()
        (loss * scale).backward()
        chosen.step()
        yield gap.mean().item()


DISTILLED = Family("distillation", _train, STEPS, LN_10)
HINTS = Family("distillation", _hints, STEPS)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.02, "momentum": 0.9}}
_TANH: dict[str, Any] = {"depth": 4, "activation": "Tanh", **_SGD}

SCENARIOS: tuple[Scenario, ...] = (
    DISTILLED.healthy("distil_adamw", "loss is not the measure"),
    DISTILLED.healthy("distil_sgd", **_SGD),
    DISTILLED.healthy("distil_tanh", **_TANH),
    DISTILLED.healthy(
        "distil_soft_only", "gradients of 1e-3", hard=0.0, squared=False, temperature=10.0
    ),
    DISTILLED.healthy("distil_clipped", "always clipped", clip=0.3, **_SGD),
    DISTILLED.healthy("distil_by_hand", by_hand=True, **_SGD),
    HINTS.healthy("distil_hints", lr=0.3),
    DISTILLED.ill(
        "distil_teacher_overflow",
        "non_finite",
        "distil_by_hand",
        onset=70,
        trap="exponentials of the teacher's answers overflow from a step on",
        by_hand=True,
        spoilt_at=70,
        **_SGD,
    ),
    DISTILLED.ill(
        "distil_not_squared",
        "vanishing",
        "distil_tanh",
        "unchanged",
        trap="temperature 3000, and the loss is not multiplied by its square",
        temperature=3000.0,
        squared=False,
        hard=0.0,
        **_TANH,
    ),
    DISTILLED.ill(
        "distil_squared_twice",
        "exploding",
        "distil_sgd",
        "dead",
        "non_finite",
        trap="multiplied by the fourth power of the temperature",
        scale=4.0**4,
        **_SGD,
    ),
    DISTILLED.ill("distil_trains_teacher", "unchanged", "distil_adamw", of_teacher=True),
    DISTILLED.ill(
        "distil_saturated",
        "saturated",
        "distil_tanh",
        "initialization",
        "vanishing",
        bias=8.0,
        **_TANH,
    ),
    DISTILLED.ill(
        "distil_dead_student",
        "dead",
        "distil_sgd",
        "initialization",
        "vanishing",
        bias=-9.0,
        **_SGD,
    ),
    DISTILLED.ill(
        "distil_lr_raised",
        "exploding",
        "distil_clipped",
        "dead",
        onset=85,
        schedule=raised(85, 2000.0),
        clip=0.3,
        **_SGD,
    ),
    HINTS.ill("distil_frozen_student", "unchanged", "distil_hints", lr=0.3, frozen="student"),
    HINTS.ill(
        "distil_hint_squares",
        "exploding",
        "distil_hints",
        "non_finite",
        "saturated",
        trap="squares summed, with the rate that was good for their root",
        unit="square",
        lr=0.3,
    ),
)

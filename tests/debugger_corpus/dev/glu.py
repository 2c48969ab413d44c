"""Perceptrons of gated linear units (GLU, SwiGLU, bilinear) on digits and on numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    digits,
    seeded,
    warm_up,
)
from tests.debugger_corpus.dev._descent import descend
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

STEPS = 160


def _model(
    *, blocks: int, width: int, gate: str, norm: bool, shut: float, gain: float
) -> nn.Sequential:
    import torch
    from torch import nn

    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "sigmoid": torch.sigmoid,
        "silu": nn.functional.silu,
        "none": lambda x: x,
        "exp": torch.exp,
    }

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.RMSNorm(width) if norm else nn.Identity()
            self.both = nn.Linear(width, 2 * width)
            self.out = nn.Linear(width, width)
            with torch.no_grad():
                self.both.bias[width:] += shut
                self.both.weight.mul_(gain)

        def forward(self, x: Tensor) -> Tensor:
            value, opening = self.both(self.norm(x)).chunk(2, -1)
            y: Tensor = self.out(value * functions[gate](opening))
            return y

    model = nn.Sequential(nn.Linear(64, width))
    model.extend(Gated() for _ in range(blocks))
    return model.append(nn.Linear(width, 10))


def _train(
    seed: int,
    *,
    blocks: int = 3,
    width: int = 48,
    gate: str = "sigmoid",
    norm: bool = True,
    shut: float = 0.0,
    gain: float = 1.0,
    batch: int = 64,
    others: bool = False,
    accumulate: int = 1,
    bright_at: int = -1,
    **loop: Any,
) -> Iterator[float]:
    """Classify digits.

    Args:
        gate: What the gating half goes through.
        norm: Blocks begin with a norm.
        shut: Added to the bias of the gating half.
        gain: What the first layer of a block is multiplied with.
        others: The optimizer is given a copy made before the model was moved.
        accumulate: How many batches make up a step.
        bright_at: From this step on pictures come in their raw unit, times 60.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _model(blocks=blocks, width=width, gate=gate, norm=norm, shut=shut, gain=gain)
    given = [p.detach().clone().requires_grad_() if others else p for p in model.parameters()]
    rows = batches(generator, len(features), batch)

    def loss_at(step: int) -> Tensor:
        total = torch.zeros(())
        for _ in range(accumulate):
            chosen = next(rows)
            inputs = features[chosen] * (60.0 if 0 <= bright_at <= step else 1.0)
            total = total + nn.functional.cross_entropy(model(inputs), classes[chosen])
        return total / accumulate

    return descend(loss_at, given, STEPS, **loop)


def _counts(
    seed: int, *, ceiling: float, link: str, lr: float, burst_at: int = -1
) -> Iterator[float]:
    """Predict counts by a gated unit whose output is the logarithm of a rate (Poisson).

    Args:
        ceiling: The logarithm is kept below it.
        link: ``log`` as it should be, or ``none``: the rate itself, which may be negative.
        lr: Learning rate of Adadelta.
        burst_at: A batch whose inputs were not scaled.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    value, opening = nn.Linear(12, 32), nn.Linear(12, 32)
    head = nn.Linear(32, 1)
    given = [*value.parameters(), *opening.parameters(), *head.parameters()]
    optimizer = torch.optim.Adadelta(given, lr=lr)
    truth = torch.from_numpy(generator.normal(0, 0.45, 12)).float()
    for step in range(STEPS):
        x = torch.from_numpy(generator.normal(size=(96, 12))).float()
        counts = torch.from_numpy(generator.poisson((x @ truth).exp().numpy())).float()
        if step == burst_at:
            x = x * 1000
        score = head(value(x) * opening(x).sigmoid())[:, 0]
        if link == "log":
            likelihood = score.clamp(max=ceiling).exp() - counts * score.clamp(max=ceiling)
        else:
            likelihood = score - counts * score.log()
        # Against the best there is, so that it is not negative.
        best = torch.where(counts > 0, counts - counts * counts.clamp(min=1).log(), counts)
        loss = (likelihood - best).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _scaled(seed: int, *, weights: str, lr: float) -> Iterator[float]:
    """Classify with weights around 1 that are scaled when used; yield the cross entropy.

    Args:
        weights: Their data type. 16 bits are too few for a step of one in a thousand.
        lr: Learning rate of Adam.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    kind = getattr(torch, weights)
    shapes = [(64, 128), (64, 128), (128, 10)]
    first, gate, last = (nn.Parameter(torch.randn(shape).to(kind)) for shape in shapes)
    with torch.no_grad():
        for matrix in (first, gate, last):
            # No weight so near zero that a small step would show.
            matrix.copy_(matrix.sign() * matrix.abs().clamp(min=0.6))
    optimizer = torch.optim.Adam([first, gate, last], lr=lr)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen = next(rows)
        inputs = features[chosen].to(kind) / 8
        hidden = (inputs @ first) * (inputs @ gate).sigmoid()
        loss = nn.functional.cross_entropy((hidden @ last / 128**0.5).float(), classes[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _overshoots(step: int) -> float:
    """Warm up, and go on and on to grow."""
    return min(1.0, step / 40) * min(1000.0, 1.25 ** max(0, step - 40))


GLU = Family("glu", _train, STEPS, LN_10)
COUNTS = Family("glu", _counts, STEPS)
SCALED = Family("glu", _scaled, STEPS, LN_10)
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.2, "options": {"momentum": 0.8}}
_SILU: dict[str, Any] = {"gate": "silu", "lr": 3e-3, "blocks": 4}
_BARE: dict[str, Any] = {
    "norm": False,
    "gate": "none",
    "blocks": 2,
    "gain": 1.5,
    "optimizer": "SGD",
    "lr": 0.05,
}
_EXP: dict[str, Any] = {"norm": False, "gate": "exp", "blocks": 1, "optimizer": "NAdam"}

SCENARIOS: tuple[Scenario, ...] = (
    GLU.healthy("glu_sgd", **_SGD),
    GLU.ill("glu_shut", "vanishing", "glu_sgd", "saturated", shut=-9.0, **_SGD),
    GLU.ill("glu_other_weights", "unchanged", "glu_sgd", others=True, **_SGD),
    GLU.healthy("glu_silu_accumulated", "8 batches a step", batch=16, accumulate=8, **_SILU),
    GLU.healthy("glu_silu_warm_up", "rate 0 at first", schedule=warm_up(40), **_SILU),
    GLU.ill(
        "glu_silu_warm_up_high",
        "exploding",
        "glu_silu_warm_up",
        "saturated",
        onset=40,
        trap="the rate goes on to grow after the warm-up",
        schedule=_overshoots,
        **_SILU,
    ),
    GLU.healthy("glu_bilinear", **_BARE),
    GLU.ill(
        "glu_bilinear_tiny",
        "vanishing",
        "glu_bilinear",
        "initialization",
        **_BARE | {"gain": 1e-3},
    ),
    GLU.ill(
        "glu_bilinear_huge",
        "initialization",
        "glu_bilinear",
        "exploding",
        "non_finite",
        **_BARE | {"gain": 300.0},
    ),
    GLU.ill(
        "glu_bilinear_lr_high", "exploding", "glu_bilinear", "non_finite", **_BARE | {"lr": 0.5}
    ),
    GLU.healthy("glu_exp", "exponential gates", **_EXP),
    GLU.ill("glu_exp_raw", "non_finite", "glu_exp", onset=70, bright_at=70, **_EXP),
    COUNTS.healthy("glu_counts", "rare large counts", ceiling=6.0, link="log", lr=2.0),
    COUNTS.ill("glu_counts_no_link", "non_finite", "glu_counts", ceiling=6.0, link="none", lr=2.0),
    COUNTS.ill(
        "glu_counts_burst",
        "non_finite",
        "glu_counts",
        "exploding",
        onset=60,
        ceiling=1000.0,
        link="log",
        lr=2.0,
        burst_at=60,
    ),
    SCALED.healthy("glu_scaled_32", "steps of a thousandth", weights="float32", lr=1.5e-3),
    SCALED.ill(
        "glu_scaled_16",
        "unchanged",
        "glu_scaled_32",
        trap="steps below the precision of the weights",
        weights="bfloat16",
        lr=1.5e-3,
    ),
)

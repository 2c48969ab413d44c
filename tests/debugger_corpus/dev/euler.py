"""One layer used for every step of an unrolled equation (Euler), as a deep network of shared weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, digits, seeded
from tests.debugger_corpus.dev._descent import descend
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 140


def _field(width: int, act: str, gain: float) -> nn.Sequential:
    import torch
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)
    model = nn.Sequential(
        nn.Linear(width, width), activation(), nn.Linear(width, width), activation()
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model


def _train(
    seed: int,
    *,
    width: int = 32,
    unrolled: int = 20,
    pace: float = 0.05,
    carry: float = 1.0,
    act: str = "Tanh",
    gain: float = 1.0,
    blank: bool = False,
    batch: int = 64,
    longer_at: int = -1,
    no_history: bool = False,
    checkpoints: bool = False,
    sums: bool = False,
    **loop: Any,
) -> Iterator[float]:
    """Classify digits by the state that the equation ends in.

    Args:
        unrolled: How many steps the equation is followed.
        pace: Length of a step of it.
        carry: What is kept of a state at each step; with 1, all of it.
        gain: What the field's weights are multiplied with at first.
        blank: All parameters are zero.
        longer_at: From this step on paces are 40 times as long (seconds became minutes).
        no_history: The solver works on ``.data``, so that only the head is trained (by its bias).
        checkpoints: States are computed anew on the way back.
        sums: Losses of a batch are added, not averaged.
    """
    from torch import nn
    from torch.utils.checkpoint import checkpoint

    generator = seeded(seed)
    features, classes = digits()
    entry, field, head = nn.Linear(64, width), _field(width, act, gain), nn.Linear(width, 10)
    parts = nn.ModuleList([entry, field, head])
    for parameter in parts.parameters() if blank else ():
        nn.init.zeros_(parameter)
    if no_history:
        head.weight.requires_grad_(False)
    rows = batches(generator, len(features), batch)
    change = partial(checkpoint, field, use_reentrant=False) if checkpoints else field

    def loss_at(step: int) -> Tensor:
        chosen = next(rows)
        state = entry(features[chosen])
        length = pace * (40 if 0 <= longer_at <= step else 1)
        for _ in range(unrolled):
            state = carry * state + length * change(state)
        if no_history:
            state = state.detach()
        reduction = "sum" if sums else "mean"
        return nn.functional.cross_entropy(head(state), classes[chosen], reduction=reduction)

    return descend(loss_at, parts.parameters(), STEPS, **loop)


def _orbit(
    seed: int,
    *,
    unrolled: int = 15,
    pace: float = 0.1,
    act: str = "Softplus",
    bound: float = 0.0,
    optimizer: str = "Adam",
    lr: float = 5e-3,
    root: float = 1e-6,
    still_at: int = -1,
    quadratic: float = 0.0,
) -> Iterator[float]:
    """Learn the field of a pendulum by where its orbits lead; yield the error.

    Args:
        unrolled: Steps of the equation.
        pace: Their length.
        act: Activation of the field.
        bound: Norm that gradients are clipped to.
        optimizer: Name of a class.
        lr: Learning rate.
        root: Added below the root of the distance that is the loss.
        still_at: A step with an orbit that begins and ends at rest, where the field has no say.
        quadratic: Of a term that feeds the state's square back, as in a population without limit.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    activation: type[nn.Module] = getattr(nn, act)
    field = nn.Sequential(nn.Linear(2, 32), activation(), nn.Linear(32, 2, bias=False))
    chosen = getattr(torch.optim, optimizer)(field.parameters(), lr=lr)
    for step in range(STEPS):
        state = torch.from_numpy(generator.normal(size=(48, 2))).float()
        truth = state
        for _ in range(unrolled):
            force = torch.stack([truth[:, 1], -truth[:, 0].sin() - 0.2 * truth[:, 1]], 1)
            truth = truth + pace * force
            state = state + pace * (field(state) + quadratic * state * state.abs())
        if step == still_at:
            # An orbit copied by mistake onto what was predicted for it.
            truth = torch.cat([state[:1].detach(), truth[1:]])
        loss = ((state - truth).square().sum(1) + root).sqrt().mean()
        chosen.zero_grad()
        loss.backward()
        if bound:
            nn.utils.clip_grad_norm_(field.parameters(), bound)
        chosen.step()
        yield loss.item()


EULER = Family("euler", _train, STEPS, LN_10)
SUMS = Family("euler", _train, STEPS, 64 * math.log(10))
ORBIT = Family("euler", _orbit, STEPS)
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.1, "options": {"momentum": 0.9}}
_ADAM: dict[str, Any] = {"lr": 3e-3, "unrolled": 40, "pace": 0.025}
_RELU: dict[str, Any] = {"act": "ReLU", "lr": 2e-3, "unrolled": 12, "pace": 0.1, "batch": 100}
_SUMS: dict[str, Any] = {
    "sums": True,
    "optimizer": "SGD",
    "clip": 5.0,
    "unrolled": 10,
    "pace": 0.1,
}
_PLAIN: dict[str, Any] = {"optimizer": "SGD", "lr": 0.1, "unrolled": 24}

SCENARIOS: tuple[Scenario, ...] = (
    EULER.healthy("euler_sgd", **_SGD),
    EULER.healthy("euler_checkpoints", "states computed twice", checkpoints=True, **_ADAM),
    EULER.healthy("euler_adam", **_ADAM),
    EULER.ill("euler_no_history", "unchanged", "euler_adam", no_history=True, **_ADAM),
    EULER.ill("euler_leaks", "vanishing", "euler_sgd", carry=0.5, **_SGD),
    EULER.ill(
        "euler_blank", "initialization", "euler_sgd", "vanishing", "unchanged", blank=True, **_SGD
    ),
    EULER.healthy("euler_relu", **_RELU),
    EULER.ill(
        "euler_relu_minutes",
        "exploding",
        "euler_relu",
        "non_finite",
        onset=60,
        longer_at=60,
        **_RELU,
    ),
    EULER.ill("euler_grows", "exploding", "euler_sgd", "non_finite", carry=2.0, **_SGD),
    EULER.ill(
        "euler_stiff",
        "saturated",
        "euler_sgd",
        "exploding",
        "initialization",
        gain=200.0,
        **_SGD | {"pace": 5.0},
    ),
    SUMS.healthy("euler_sums", "large losses, clipped", lr=0.01, **_SUMS),
    SUMS.ill("euler_sums_rate_high", "exploding", "euler_sums", "saturated", lr=5.0, **_SUMS),
    ORBIT.healthy("euler_orbit"),
    ORBIT.healthy("euler_orbit_exact", "a root without an addend", root=0.0),
    ORBIT.ill(
        "euler_orbit_at_rest", "non_finite", "euler_orbit_exact", onset=55, root=0.0, still_at=55
    ),
    ORBIT.ill("euler_orbit_feeds_back", "non_finite", "euler_orbit", "exploding", quadratic=1.5),
    ORBIT.healthy("euler_orbit_clipped", "clipped", bound=0.5, optimizer="RMSprop", lr=3e-3),
    ORBIT.ill(
        "euler_orbit_rate_high_clipped",
        "exploding",
        "euler_orbit_clipped",
        "non_finite",
        bound=0.5,
        optimizer="RMSprop",
        lr=1.5,
    ),
)

"""Capsules: groups of units whose length says how sure they are, and routing by agreement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, climb, digits, raised, seeded
from tests.debugger_corpus.dev._descent import descend, runs_out
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 120


def _squash(x: Tensor, floor: float) -> Tensor:
    """Shorten each vector to less than 1; the root has no gradient at 0 if there is no floor."""
    square = x.square().sum(-1, keepdim=True)
    return x * square / (1 + square) / (square + floor).sqrt()


def _margin(lengths: Tensor, right: Tensor) -> Tensor:
    present = right * (0.9 - lengths).relu().square()
    absent = 0.5 * (1 - right) * (lengths - 0.1).relu().square()
    return (present + absent).sum(1).mean()


def _model(*, lower: int, size: int, start: str, bias: float, act: str) -> nn.ModuleDict:
    import torch
    from torch import nn

    first = nn.Conv2d(1, 16, 3)
    second = nn.Conv2d(16, lower * 4, 3, stride=2)
    for layer in (first, second):
        assert layer.bias is not None
        nn.init.constant_(layer.bias, bias)
    votes = nn.Linear(lower * 4 * 4, 10 * size * lower, bias=False)
    activation: type[nn.Module] = getattr(nn, act)
    model = nn.ModuleDict(
        {
            "eyes": nn.Sequential(
                nn.Unflatten(1, (1, 8, 8)), first, activation(), second, activation()
            )
        }
    )
    model["votes"] = votes
    with torch.no_grad():
        if start == "zeros":
            votes.weight.zero_()
        elif start == "tiny":
            votes.weight.mul_(1e-4)
        elif start == "huge":
            votes.weight.mul_(1e3)
    return model


def _train(
    seed: int,
    *,
    lower: int = 6,
    size: int = 8,
    rounds: int = 2,
    start: str = "usual",
    bias: float = 0.0,
    act: str = "ReLU",
    floor: float = 1e-6,
    batch: int = 48,
    loss: str = "margin",
    gain: float = 1.0,
    stops: bool = False,
    blank_at: int = -1,
    **loop: Any,
) -> Iterator[float]:
    """Classify digits by the lengths of ten capsules.

    Args:
        lower: Capsules below.
        size: Numbers in a capsule above.
        rounds: Of routing.
        start: Of the votes: ``usual``, ``zeros``, ``tiny``, ``huge``.
        bias: Of the convolutions at first.
        act: Activation of the convolutions.
        floor: Added below the root of lengths.
        batch: Pictures a step.
        loss: ``margin``, or ``entropy`` of the lengths.
        gain: What the loss, or for the entropy the lengths, is multiplied with.
        stops: Votes are detached in all rounds of routing, not in all but the last.
        blank_at: From this step on votes are masked for pictures of which half is covered: all.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _model(lower=lower, size=size, start=start, bias=bias, act=act)
    rows = batches(generator, len(features), batch)

    def lengths_of(inputs: Tensor, mask: float) -> Tensor:
        seen = model["eyes"](inputs).flatten(1)
        votes = mask * model["votes"](seen).unflatten(1, (lower, 10, size))
        agreement = torch.zeros(len(inputs), lower, 10, 1)
        above = torch.zeros(())
        for number in range(rounds):
            free = votes.detach() if stops or number < rounds - 1 else votes
            above = _squash((agreement.softmax(2) * free).sum(1), floor)
            agreement = agreement + (free * above[:, None]).sum(3, keepdim=True)
        return (above.square().sum(2) + floor).sqrt()

    given = list(model.parameters())
    sharp = nn.Parameter(torch.ones(()))
    given.append(sharp)

    def loss_at(step: int) -> Tensor:
        chosen = next(rows)
        lengths = sharp * lengths_of(features[chosen], 0.0 if 0 <= blank_at <= step else 1.0)
        if loss == "entropy":
            return nn.functional.cross_entropy(gain * lengths, classes[chosen])
        right = nn.functional.one_hot(classes[chosen], 10).float()
        return gain * _margin(lengths, right)

    return descend(loss_at, given, STEPS, **loop)


CAPSULES = Family("capsules", _train, STEPS, 0.45)
"""Against lengths that are the same for all pictures."""
ENTROPY = Family("capsules", _train, STEPS, LN_10)
_ADAM: dict[str, Any] = {"lr": 4e-3}
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.3, "options": {"momentum": 0.9}}
_ENTROPY: dict[str, Any] = {
    "loss": "entropy",
    "gain": 8.0,
    "rounds": 3,
    "optimizer": "AdamW",
    "lr": 4e-3,
}
_TANH: dict[str, Any] = {"act": "Tanh", "optimizer": "RMSprop", "lr": 2e-3, "batch": 96}

SCENARIOS: tuple[Scenario, ...] = (
    CAPSULES.healthy("capsules", "lengths bounded by a squash", **_ADAM),
    CAPSULES.ill("capsules_routing_stops", "unchanged", "capsules", stops=True, **_ADAM),
    CAPSULES.ill("capsules_off", "dead", "capsules", bias=-10.0, **_ADAM),
    CAPSULES.ill(
        "capsules_masked",
        "non_finite",
        "capsules_exact",
        onset=50,
        blank_at=50,
        floor=0.0,
        **_ADAM,
    ),
    CAPSULES.healthy("capsules_exact", "a root without a floor", floor=0.0, **_ADAM),
    CAPSULES.healthy("capsules_sgd", **_SGD),
    CAPSULES.ill(
        "capsules_tiny", "vanishing", "capsules_sgd", "initialization", start="tiny", **_SGD
    ),
    CAPSULES.ill(
        "capsules_zeros", "initialization", "capsules", "vanishing", start="zeros", **_ADAM
    ),
    CAPSULES.ill("capsules_runs_out", "unchanged", "capsules_sgd", schedule=runs_out(2), **_SGD),
    CAPSULES.ill(
        "capsules_rate_high",
        "exploding",
        "capsules_sgd",
        "dead",
        "saturated",
        **_SGD | {"lr": 300.0},
    ),
    CAPSULES.healthy("capsules_tanh", **_TANH),
    CAPSULES.ill(
        "capsules_tanh_rate_late",
        "saturated",
        "capsules_tanh",
        "exploding",
        onset=60,
        schedule=raised(60, 400.0),
        **_TANH,
    ),
    ENTROPY.healthy("capsules_entropy", **_ENTROPY),
    ENTROPY.ill(
        "capsules_entropy_rate_climbs",
        "exploding",
        "capsules_entropy",
        "dead",
        "saturated",
        onset=40,
        schedule=climb(40, 1.4, 3000.0),
        **_ENTROPY,
    ),
)

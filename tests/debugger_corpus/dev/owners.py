"""Parameters that no optimizer has, though they get gradients; on purpose and by mistake."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, digits, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 180


def _parity(classes: Tensor) -> Tensor:
    """Return whether a digit has an odd number of ones as a binary number: random features know nothing of it."""
    import torch

    parities = torch.tensor([number.bit_count() % 2 for number in range(10)])
    return parities[classes]


def _narrow(seed: int, *, given: str, optimizer: str = "SGD", lr: float = 0.1) -> Iterator[float]:
    """Tell digits of one kind from those of another through narrow layers, of which an optimizer is given some."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    classes = _parity(classes)
    widths = (64, 48, 12, 3, 1, 3, 12, 48)
    layers = [
        nn.Sequential(nn.Linear(before, after), nn.Tanh())
        for before, after in itertools.pairwise(widths)
    ]
    body, head = nn.Sequential(*layers), nn.Linear(widths[-1], 2)
    model = nn.Sequential(body, head)
    with torch.no_grad():  # so that one unit can tell digits apart
        for layer in layers:
            next(layer.parameters()).mul_(2.5)
    chosen = getattr(torch.optim, optimizer)(_owned(model, given), lr=lr)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        loss = nn.functional.cross_entropy(model(features[chosen_rows]), classes[chosen_rows])
        model.zero_grad()
        loss.backward()
        chosen.step()
        yield loss.item()


def _owned(model: nn.Module, given: str) -> list[Any]:
    body, head = model[0], model[1]  # type: ignore[index]
    if given == "all":
        return list(model.parameters())
    if given == "head":
        return list(head.parameters())
    if given == "last two":
        return [*body[-1].parameters(), *head.parameters()]
    return [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]


def _replaced(seed: int, *, when: str, lr: float = 0.05) -> Iterator[float]:
    """Tell digits of one kind from those of another by layers that are made anew, before the optimizer or after."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    classes = _parity(classes)

    def hidden() -> nn.Module:
        layers: list[nn.Module] = []
        for width in (2, 1):
            layers += [nn.LazyLinear(width), nn.Tanh()]
        return nn.Sequential(*layers)

    model = nn.Sequential(hidden(), nn.Linear(1, 2))
    model(features[:2])
    if when == "before":
        model[0] = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr / 10)
    if when == "after":
        model[0] = hidden()
        model(features[:2])
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        loss = nn.functional.cross_entropy(model(features[chosen_rows]), classes[chosen_rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _probe(seed: int, *, backbone: str) -> Iterator[float]:
    """Train a head alone on features that somebody did not freeze, or with an optimizer to come."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    body = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
    head = nn.Linear(128, 10)
    optimizers = [torch.optim.SGD(head.parameters(), lr=0.3)]
    if backbone == "later":
        optimizers.append(torch.optim.SGD(body.parameters(), lr=0.1))
    rows = batches(generator, len(features), 64)
    for step in range(STEPS):
        chosen_rows = next(rows)
        scores = head(body(features[chosen_rows]))
        loss = nn.functional.cross_entropy(scores, classes[chosen_rows])
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        optimizers[0].step()
        if step > STEPS // 2 and backbone == "later":
            optimizers[1].step()
        yield loss.item()


NARROW = Family("mlp", _narrow, STEPS, math.log(2))
REPLACED = Family("mlp", _replaced, STEPS, math.log(2))
PROBE = Family("mlp", _probe, STEPS, LN_10)

SCENARIOS: tuple[Scenario, ...] = (
    NARROW.healthy("mlp_narrow", given="all"),
    NARROW.ill(
        "mlp_narrow_head_only",
        "unchanged",
        "mlp_narrow",
        trap="the body gets gradients that nobody uses",
        given="head",
    ),
    NARROW.ill("mlp_narrow_last_two", "unchanged", "mlp_narrow", given="last two"),
    NARROW.healthy("mlp_narrow_adam", given="all", optimizer="Adam", lr=5e-3),
    NARROW.ill(
        "mlp_narrow_adam_head_only",
        "unchanged",
        "mlp_narrow_adam",
        given="head",
        optimizer="Adam",
        lr=5e-3,
    ),
    REPLACED.healthy("mlp_remade_before", when="before"),
    REPLACED.ill(
        "mlp_remade_after",
        "unchanged",
        "mlp_remade_before",
        trap="the optimizer has layers that are no more, and one that learns little",
        when="after",
    ),
    PROBE.healthy("mlp_probe_unfrozen", "gradients of a body that nobody uses", backbone="none"),
    PROBE.healthy("mlp_probe_then_all", "the second optimizer begins later", backbone="later"),
)

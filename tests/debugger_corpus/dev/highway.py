"""Highway networks on digits: layers that a gate lets carry their input through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    digits,
    jump,
    raised,
    seeded,
)
from tests.debugger_corpus.dev._descent import descend
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 160


def _model(
    depth: int, width: int, activation: str, gate_bias: float, entry_bias: float, blank: bool
) -> nn.Module:
    import torch
    from torch import nn

    act: type[nn.Module] = getattr(nn, activation)

    class Highway(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain = nn.Linear(width, width)
            self.gate = nn.Linear(width, width)
            self.act, self.opening = act(), nn.Sigmoid()
            nn.init.constant_(self.gate.bias, gate_bias)

        def forward(self, x: Tensor) -> Tensor:
            opening: Tensor = self.opening(self.gate(x))
            y: Tensor = opening * self.act(self.plain(x)) + (1 - opening) * x
            return y

    entry = nn.Linear(64, width)
    nn.init.constant_(entry.bias, entry_bias)
    model = nn.Sequential(entry, nn.ReLU())
    model.extend(Highway() for _ in range(depth))
    model.append(nn.Linear(width, 10))
    with torch.no_grad():
        for parameter in model.parameters() if blank else ():
            parameter.zero_()
    return model


def _train(
    seed: int,
    *,
    depth: int = 10,
    width: int = 40,
    batch: int = 64,
    activation: str = "Tanh",
    gate_bias: float = -2.0,
    entry_bias: float = 0.0,
    blank: bool = False,
    nan_at: int = -1,
    replaced: bool = False,
    **loop: Any,
) -> Iterator[float]:
    """Classify digits.

    Args:
        gate_bias: How far the gates are open at first.
        entry_bias: Bias of the ReLU in front of all.
        blank: All parameters are 0, as they were allocated.
        nan_at: A batch with one pixel that was not read.
        replaced: The layers in the middle are exchanged after the optimizer was made.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _model(depth, width, activation, gate_bias, entry_bias, blank)
    given = list(model.parameters())
    if replaced:
        # Made anew at a better width; the optimizer holds those from before.
        model = _model(depth, width, activation, gate_bias, entry_bias, blank)
    rows = batches(generator, len(features), batch)

    def loss_at(step: int) -> Tensor:
        chosen = next(rows)
        inputs = features[chosen]
        if step == nan_at:
            inputs = inputs.clone()
            inputs[3, 20] = torch.nan
        return nn.functional.cross_entropy(model(inputs), classes[chosen])

    return descend(loss_at, given, STEPS, **loop)


def _sparse(seed: int, *, floor: float, decided_at: int) -> Iterator[float]:
    """Ask gates to be decided by a penalty on their entropy; yield the cross entropy.

    Args:
        floor: Keeps the logarithm away from zero.
        decided_at: Gates are made steeper from this step on.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    entry, head = nn.Linear(64, 48), nn.Linear(48, 10)
    plain, gate = (nn.ModuleList(nn.Linear(48, 48) for _ in range(3)) for _ in range(2))
    parts = nn.ModuleList([entry, head, plain, gate])
    optimizer = torch.optim.NAdam(parts.parameters(), lr=3e-3)
    rows = batches(generator, len(features), 48)
    for step in range(STEPS):
        chosen = next(rows)
        x = entry(features[chosen]).relu()
        entropy = torch.zeros(())
        steepness = 400.0 if step >= decided_at else 1.0
        for layer, opener in zip(plain, gate, strict=True):
            opening = (steepness * opener(x)).sigmoid()
            entropy = entropy - (opening * (opening + floor).log()).mean()
            x = opening * layer(x).relu() + (1 - opening) * x
        loss = nn.functional.cross_entropy(head(x), classes[chosen])
        optimizer.zero_grad()
        (loss + 0.01 * entropy).backward()
        optimizer.step()
        yield loss.item()


HIGHWAY = Family("highway", _train, STEPS, LN_10)
SPARSE = Family("highway", _sparse, STEPS, LN_10)
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.05, "options": {"momentum": 0.9}}
_DEEP: dict[str, Any] = {"depth": 24, "activation": "Sigmoid", "gate_bias": -3.0, **_SGD}
_RELU: dict[str, Any] = {"depth": 6, "activation": "ReLU", "batch": 128, "lr": 2e-3}

SCENARIOS: tuple[Scenario, ...] = (
    HIGHWAY.healthy("highway_carry_24", "gates nearly shut, gradients of layers tiny", **_DEEP),
    HIGHWAY.ill(
        "highway_never_carry_24",
        "vanishing",
        "highway_carry_24",
        trap="bias of the gates with the wrong sign",
        **_DEEP | {"gate_bias": 3.0},
    ),
    HIGHWAY.healthy("highway_sgd", **_SGD),
    HIGHWAY.ill(
        "highway_lr_high_clipped",
        "exploding",
        "highway_sgd",
        "saturated",
        clip=1.0,
        **_SGD | {"lr": 3.0},
    ),
    HIGHWAY.healthy("highway_relu", **_RELU),
    HIGHWAY.ill("highway_entry_dead", "dead", "highway_relu", entry_bias=-25.0, **_RELU),
    HIGHWAY.ill(
        "highway_lr_slip_70",
        "exploding",
        "highway_relu",
        "dead",
        "saturated",
        onset=70,
        schedule=raised(70, 3000.0),
        **_RELU,
    ),
    HIGHWAY.healthy(
        "highway_lr_slip_mended",
        "one step at three times the rate",
        schedule=jump(60, 3.0),
        **_SGD,
    ),
    HIGHWAY.ill("highway_replaced", "unchanged", "highway_relu", replaced=True, **_RELU),
    HIGHWAY.ill("highway_pixel_missing", "non_finite", "highway_sgd", onset=90, nan_at=90, **_SGD),
    HIGHWAY.ill(
        "highway_blank",
        "initialization",
        "highway_sgd",
        "vanishing",
        "dead",
        "unchanged",
        blank=True,
        **_SGD,
    ),
    SPARSE.healthy("highway_decided", "gates end at 0 and 1", floor=1e-8, decided_at=80),
    SPARSE.ill(
        "highway_decided_log_zero",
        "non_finite",
        "highway_decided",
        onset=80,
        floor=0.0,
        decided_at=80,
    ),
)

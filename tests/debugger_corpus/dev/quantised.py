"""Quantisation-aware training: rounded weights and activations, with the gradient passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    constant,
    digits,
    jump,
    seeded,
)
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 150


def _rounded(x: Tensor, levels: int, reach: float, estimator: str) -> Tensor:
    """Round to a grid; its gradient is 1 inside the reach and 0 beyond ('clipped'), or none."""
    inside = x.clamp(-reach, reach) if estimator == "clipped" else x
    grid = (inside * levels).round() / levels
    return grid if estimator == "none" else inside + (grid - inside).detach()


def _scale(weight: Tensor, how: str, bits: int) -> Tensor:
    """Return the width of a step of the grid."""
    largest = weight.abs().amax().clamp_min(1e-8 if how == "guarded" else 0)
    width: Tensor = largest / (2 ** (bits - 1) - 1)
    return width


def _model(
    *, depth: int, width: int, bits: int, weights: str, signs: str, reach: float, how: str
) -> nn.Module:
    import torch
    from torch import nn

    class Quantised(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            step = _scale(self.weight, how, bits).detach()
            if weights == "binary":
                kept = self.weight.clamp(-1, 1) if signs == "clipped" else self.weight
                sign = kept + (kept.sign() - kept).detach()
                weight = sign / self.in_features**0.5
            else:
                passed = "passed" if weights == "passed" else "none"
                weight = _rounded(self.weight / step, 1, reach, passed) * step
            return nn.functional.linear(x, weight, self.bias)

    class Round(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return _rounded(torch.relu(x), 4, reach, "none" if signs == "none" else "clipped")

    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [Quantised(width if number else 64, width), Round()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def _train(
    seed: int,
    *,
    depth: int = 2,
    width: int = 64,
    bits: int = 4,
    weights: str = "passed",
    signs: str = "passed",
    reach: float = 4.0,
    how: str = "guarded",
    gain: float = 1.0,
    bias: float = 0.0,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    snapped: float = 0.0,
    clip: float = 0.0,
    zero_layer_at: int = STEPS,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model: Any = _model(
        depth=depth, width=width, bits=bits, weights=weights, signs=signs, reach=reach, how=how
    )
    with torch.no_grad():
        for layer in model[:-1:2]:
            layer.weight.mul_(gain)
            layer.bias.add_(bias)
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 3e-3}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step, part in zip(range(STEPS), batches(generator, len(features), 64), strict=False):
        if step == zero_layer_at:
            with torch.no_grad():
                model[2].weight.zero_()  # Pruned away as a whole by another tool.
        loss = nn.functional.cross_entropy(model(features[part]), classes[part])
        chosen.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        if snapped:
            # The weights themselves are rounded, so that small updates are lost.
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.copy_((parameter / snapped).round() * snapped)
        yield loss.item()


QUANTISED = Family("quantised", _train, STEPS, LN_10)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.1, "momentum": 0.9}}
_BINARY: dict[str, Any] = {"weights": "binary", "settings": {"lr": 1e-3}, "signs": "clipped"}
_CLIPPED: dict[str, Any] = {"clip": 0.5, **_SGD}

SCENARIOS: tuple[Scenario, ...] = (
    QUANTISED.healthy("quantised_adam", "four bits"),
    QUANTISED.healthy("quantised_sgd", **_SGD),
    QUANTISED.healthy("quantised_binary", "only signs of weights are used", **_BINARY),
    QUANTISED.healthy("quantised_clipped", **_CLIPPED),
    QUANTISED.healthy("quantised_zeroed_layer", "a layer becomes 0 in mid-run", zero_layer_at=70),
    QUANTISED.healthy("quantised_snapped", "weights rounded after each step", snapped=2e-4),
    QUANTISED.healthy("quantised_deep", "depth 5", depth=5, width=48, bits=8),
    QUANTISED.ill(
        "quantised_zero_scale",
        "non_finite",
        "quantised_zeroed_layer",
        onset=70,
        trap="a layer of zeros has a step of 0: 0 / 0",
        how="plain",
        zero_layer_at=70,
    ),
    QUANTISED.ill(
        "quantised_snapped_coarse",
        "unchanged",
        "quantised_snapped",
        trap="each update is below half a step of the grid",
        snapped=0.05,
    ),
    QUANTISED.ill(
        "quantised_no_estimator",
        "vanishing",
        "quantised_deep",
        "unchanged",
        trap="rounding has gradient 0 everywhere; only the head learns",
        weights="none",
        signs="none",
        depth=5,
        width=48,
        bits=8,
        gain=0.5,
    ),
    QUANTISED.ill(
        "quantised_out_of_reach",
        "saturated",
        "quantised_sgd",
        "vanishing",
        "exploding",
        "initialization",
        trap="all activations lie beyond the grid, where no gradient passes",
        bias=40.0,
        **_SGD,
    ),
    QUANTISED.ill(
        "quantised_below_grid",
        "vanishing",
        "quantised_sgd",
        "dead",
        "initialization",
        trap="activations all round to 0",
        gain=1e-4,
        bias=-0.5,
        **_SGD,
    ),
    QUANTISED.ill(
        "quantised_lr_jump",
        "exploding",
        "quantised_clipped",
        "dead",
        onset=90,
        schedule=jump(90, 3000.0),
        **_CLIPPED,
    ),
    QUANTISED.ill(
        "quantised_binary_lr_high",
        "exploding",
        "quantised_binary",
        "dead",
        weights="binary",
        signs="clipped",
        settings={"lr": 30.0},
    ),
)

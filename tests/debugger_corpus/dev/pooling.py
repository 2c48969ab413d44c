"""Bilinear pooling: a picture's two views by small convolutions, joined by their outer product."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, digits, jump, seeded, warm_up
from tests.debugger_corpus.dev._descent import descend
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 110


def _view(channels: int, act: str, bias: float, gain: float, depth: int) -> nn.Sequential:
    import torch
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)
    view = nn.Sequential(nn.Unflatten(1, (1, 8, 8)))
    for number in range(depth):
        layer = nn.Conv2d(1 if number == 0 else channels, channels, 3, padding=1)
        with torch.no_grad():
            layer.weight.mul_(gain)
            if layer.bias is not None:
                layer.bias.add_(bias)
        view.extend([layer, activation()])
    return view


def _train(
    seed: int,
    *,
    channels: int = 8,
    depth: int = 2,
    act: str = "ReLU",
    bias: float = 0.0,
    gain: float = 1.0,
    batch: int = 48,
    unit: float = 1.0,
    root: str = "signed",
    dropped: float = 0.0,
    offset_at: int = -1,
    frozen: bool = False,
    **loop: Any,
) -> Iterator[float]:
    """Classify digits.

    Args:
        channels: Of each view.
        depth: Convolutions of each view.
        act: Activation.
        bias: Added to that of the convolutions at first.
        gain: What their weights are multiplied with at first.
        batch: Pictures a step.
        unit: Of the pixels.
        root: Products go through a ``signed`` root with an addend, a ``bare`` one, or ``none``.
        dropped: Share of the products that is dropped.
        offset_at: From this step on, pixels are inverted and bright: far from what was seen.
        frozen: Views are frozen on purpose, and only the layer on top is trained.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    left = _view(channels, act, bias, gain, depth)
    right = _view(channels, act, bias, gain, depth)
    top = nn.Sequential(nn.Dropout(dropped), nn.Linear(channels * channels * 4, 10))
    if frozen:
        left.requires_grad_(False)
        right.requires_grad_(False)
    rows = batches(generator, len(features), batch)

    def loss_at(step: int) -> Tensor:
        chosen = next(rows)
        inputs = features[chosen] * unit
        if 0 <= offset_at <= step:
            inputs = -4000.0 - 1000.0 * inputs
        one, other = (
            view(inputs).unflatten(3, (2, 4)).unflatten(2, (2, 4)) for view in (left, right)
        )
        both = torch.einsum("ncaxby,ndaxby->ncdab", one, other).flatten(1) / 16
        if root == "signed":
            both = both.sign() * (both.abs() + 1e-4).sqrt()
        elif root == "bare":
            both = both.sign() * both.abs().sqrt()
        return nn.functional.cross_entropy(top(both), classes[chosen])

    parts = nn.ModuleList([left, right, top])
    return descend(loss_at, [p for p in parts.parameters() if p.requires_grad], STEPS, **loop)


POOLING = Family("pooling", _train, STEPS, LN_10)
_ADAM: dict[str, Any] = {"lr": 5e-3}
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.1, "options": {"momentum": 0.9}}
_TANH: dict[str, Any] = {"act": "Tanh", "optimizer": "Adagrad", "lr": 0.02}
_NONE: dict[str, Any] = {"root": "none", "optimizer": "SGD", "lr": 0.15, "gain": 2.0, "batch": 96}
_SOFT: dict[str, Any] = {"act": "ELU", "root": "bare", "optimizer": "Adamax", "lr": 0.01}

SCENARIOS: tuple[Scenario, ...] = (
    POOLING.healthy("pooling", **_ADAM),
    POOLING.healthy("pooling_frozen", "views are frozen on purpose", frozen=True, lr=0.02),
    POOLING.healthy("pooling_dropped", "half of the products is dropped", dropped=0.5, **_ADAM),
    POOLING.ill("pooling_off", "dead", "pooling", bias=-15.0, **_ADAM),
    POOLING.ill(
        "pooling_inverted_late", "dead", "pooling_sgd", "exploding", onset=55, offset_at=55, **_SGD
    ),
    POOLING.healthy("pooling_sgd", **_SGD),
    POOLING.ill(
        "pooling_spike",
        "dead",
        "pooling_sgd",
        "exploding",
        onset=50,
        schedule=jump(50, 100.0),
        **_SGD,
    ),
    POOLING.healthy("pooling_tanh", **_TANH),
    POOLING.ill(
        "pooling_tanh_stuck", "saturated", "pooling_tanh", "vanishing", bias=12.0, **_TANH
    ),
    POOLING.ill(
        "pooling_tanh_rate_high", "saturated", "pooling_tanh", "exploding", **_TANH | {"lr": 5.0}
    ),
    POOLING.healthy("pooling_products", schedule=warm_up(20), **_NONE),
    POOLING.ill(
        "pooling_products_tiny",
        "vanishing",
        "pooling_products",
        "initialization",
        schedule=warm_up(20),
        **_NONE | {"gain": 0.02},
    ),
    POOLING.ill("pooling_sigmoid", "vanishing", "pooling_deep", depth=6, act="Sigmoid", **_ADAM),
    POOLING.healthy("pooling_deep", depth=6, **_ADAM),
    POOLING.healthy("pooling_bare", "a root of what is never 0", **_SOFT),
    POOLING.ill("pooling_bare_relu", "non_finite", "pooling_bare", **_SOFT | {"act": "ReLU"}),
)

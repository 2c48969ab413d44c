"""Depthwise convolutions with squeeze and excite, plain (no way around a block), on digits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, climb, digits, seeded
from tests.debugger_corpus.dev._descent import descend
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 120


def _squash(name: str) -> nn.Module:
    from torch import nn

    chosen: dict[str, type[nn.Module]] = {
        "sigmoid": nn.Sigmoid,
        "hard": nn.Hardsigmoid,
        "tanh": nn.Tanh,
    }
    return chosen[name]()


def _model(
    *, blocks: int, channels: int, norm: bool, act: str, squash: str, gate_bias: float, gain: float
) -> nn.Sequential:
    import torch
    from torch import nn

    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv2d(channels, channels // 4, 1)
            self.up = nn.Conv2d(channels // 4, channels, 1)
            self.squash = _squash(squash)
            if self.up.bias is not None:
                nn.init.constant_(self.up.bias, gate_bias)

        def forward(self, x: Tensor) -> Tensor:
            excited = self.up(self.down(x.mean((2, 3), keepdim=True)).relu())
            y: Tensor = x * self.squash(excited)
            return y

    activation: type[nn.Module] = getattr(nn, act)
    model = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, channels, 3, padding=1))
    for _ in range(blocks):
        model.append(nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=not norm))
        model.append(nn.Conv2d(channels, channels, 1, bias=not norm))
        model.append(nn.BatchNorm2d(channels) if norm else nn.Identity())
        model.extend([activation(), Squeeze()])
    model.extend([nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * channels, 10)])
    with torch.no_grad():
        for layer in list(model)[2:]:
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(gain)
    return model


def _train(
    seed: int,
    *,
    blocks: int = 3,
    channels: int = 16,
    norm: bool = True,
    act: str = "ReLU",
    squash: str = "sigmoid",
    gate_bias: float = 0.0,
    gain: float = 1.0,
    batch: int = 32,
    unit: float = 1.0,
    dark_at: int = -1,
    frozen: bool = False,
    **loop: Any,
) -> Iterator[float]:
    """Classify digits.

    Args:
        gate_bias: Of the excitation at first.
        gain: What depthwise and pointwise weights are multiplied with at first.
        unit: Of the pixels.
        dark_at: From this step on each picture is divided by its range, of which one has none.
        frozen: Everything was frozen for a check and not thawed, but for the gates.
    """
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _model(
        blocks=blocks,
        channels=channels,
        norm=norm,
        act=act,
        squash=squash,
        gate_bias=gate_bias,
        gain=gain,
    )
    if frozen:
        for layer in model:
            if isinstance(layer, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
                layer.requires_grad_(False)
    rows = batches(generator, len(features), batch)

    def loss_at(step: int) -> Tensor:
        chosen = next(rows)
        inputs = features[chosen] * unit
        if step == dark_at:
            # The lens was covered.
            inputs[5] = 0.0
        if dark_at >= 0:
            inputs = inputs / (inputs.amax(1, keepdim=True) - inputs.amin(1, keepdim=True)) * 3
        return nn.functional.cross_entropy(model(inputs), classes[chosen])

    return descend(loss_at, model.parameters(), STEPS, **loop)


def _sixteen_bits(seed: int, *, autocast: bool, epsilon: float) -> Iterator[float]:
    """Classify in 16 bits, with weights in 32 bits or, to save memory, in 16 as well.

    Args:
        autocast: Weights have 32 bits, what is computed has 16 (bfloat16).
        epsilon: Of Adam. What is usual is zero in 16 bits.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _model(
        blocks=2, channels=8, norm=False, act="ReLU", squash="sigmoid", gate_bias=0.0, gain=2.0
    )
    if not autocast:
        model, features = model.half(), features.half()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, eps=epsilon)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen = next(rows)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = model(features[chosen])
        loss = nn.functional.cross_entropy(logits.float(), classes[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


SQUEEZE = Family("squeeze", _train, STEPS, LN_10)
HALF = Family("squeeze", _sixteen_bits, STEPS, LN_10)
_ADAMW: dict[str, Any] = {"optimizer": "AdamW", "lr": 4e-3}
_BARE: dict[str, Any] = {
    "norm": False,
    "optimizer": "SGD",
    "lr": 0.05,
    "options": {"momentum": 0.9},
    "gate_bias": 2.0,
    "gain": 2.0,
}
_TANH: dict[str, Any] = {"act": "Tanh", "blocks": 2, "optimizer": "Adamax", "lr": 0.01}
_HARD: dict[str, Any] = {"squash": "hard", "norm": False, "blocks": 2, "lr": 4e-3, "gain": 2.0}

SCENARIOS: tuple[Scenario, ...] = (
    SQUEEZE.healthy("squeeze_norm", **_ADAMW),
    SQUEEZE.healthy(
        "squeeze_norm_small", "gates nearly shut, norms make up", gate_bias=-4.0, **_ADAMW
    ),
    SQUEEZE.ill("squeeze_frozen", "unchanged", "squeeze_norm", frozen=True, **_ADAMW),
    SQUEEZE.healthy("squeeze_bare", **_BARE),
    SQUEEZE.ill("squeeze_shut", "vanishing", "squeeze_bare", **_BARE | {"gate_bias": -4.0}),
    SQUEEZE.ill(
        "squeeze_large_start",
        "initialization",
        "squeeze_bare",
        "exploding",
        **_BARE | {"gain": 40.0},
    ),
    SQUEEZE.ill(
        "squeeze_value_clipped",
        "exploding",
        "squeeze_bare",
        "dead",
        clip_value=0.5,
        **_BARE | {"lr": 3.0},
    ),
    SQUEEZE.healthy("squeeze_tanh", **_TANH),
    SQUEEZE.ill(
        "squeeze_tanh_climb",
        "saturated",
        "squeeze_tanh",
        "exploding",
        onset=30,
        schedule=climb(30, 1.5, 3000.0),
        **_TANH,
    ),
    SQUEEZE.healthy("squeeze_hard", "hard sigmoids", **_HARD),
    SQUEEZE.ill(
        "squeeze_hard_off",
        "saturated",
        "squeeze_hard",
        "vanishing",
        "dead",
        trap="hard sigmoids that are exactly 0",
        **_HARD | {"gate_bias": -6.0},
    ),
    SQUEEZE.healthy("squeeze_ranged", dark_at=1000, **_ADAMW),
    SQUEEZE.ill(
        "squeeze_ranged_dark", "non_finite", "squeeze_ranged", onset=50, dark_at=50, **_ADAMW
    ),
    HALF.healthy("squeeze_autocast", "16 bits on the way", autocast=True, epsilon=1e-8),
    HALF.healthy("squeeze_half", "weights in 16 bits", autocast=False, epsilon=1e-4),
    HALF.ill(
        "squeeze_half_epsilon",
        "non_finite",
        "squeeze_half",
        trap="epsilon of Adam is 0 in 16 bits",
        autocast=False,
        epsilon=1e-8,
    ),
)

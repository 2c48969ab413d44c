"""MLP of linear layers without biases, with batch, weight or spectral normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, constant, digits, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 150


def _model(
    *, norm: str, depth: int, width: int, activation: str, gain: float, eps: float, length: float
) -> nn.Module:
    import torch
    from torch import nn

    class Weighted(nn.Module):
        """Direction and length are learnt apart; written by hand, with or without a guard."""

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.direction = nn.Parameter(torch.randn(outputs, inputs))
            self.length = nn.Parameter(torch.full((outputs, 1), length))

        def forward(self, x: Tensor) -> Tensor:
            size = (self.direction.square().sum(1, keepdim=True) + eps).sqrt()
            return nn.functional.linear(x, self.direction / size * self.length)

    class Rms(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / (x.square().mean(1, keepdim=True) + eps).sqrt()

    layers: list[nn.Module] = []
    for number in range(depth):
        inputs = width if number else 64
        linear: nn.Module = nn.Linear(inputs, width, bias=False)
        with torch.no_grad():
            linear.weight.mul_(gain)  # type: ignore[operator]
        if norm == "weight":
            linear = Weighted(inputs, width)
        elif norm == "spectral":
            linear = nn.utils.parametrizations.spectral_norm(linear)
        layers.append(linear)
        if norm == "batch":
            layers.append(nn.BatchNorm1d(width))
        elif norm == "rms":
            layers.append(Rms())
        layers.append(getattr(nn, activation)())
    return nn.Sequential(*layers, nn.Linear(width, 10))


def _train(
    seed: int,
    *,
    norm: str = "batch",
    depth: int = 3,
    width: int = 64,
    activation: str = "ReLU",
    gain: float = 1.0,
    eps: float = 1e-6,
    length: float = 1.5,
    shift: float = 0.0,
    optimizer: str = "SGD",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    batch: int = 64,
    blank_at: int = STEPS,
    evaluated: bool = False,
    clip: float = 0.0,
    scale: float = 1.0,
    vanished_at: int = STEPS,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model: Any = _model(
        norm=norm,
        depth=depth,
        width=width,
        activation=activation,
        gain=gain,
        eps=eps,
        length=length,
    )
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.BatchNorm1d):
                module.bias.add_(shift)
    chosen = getattr(torch.optim, optimizer)(
        model.parameters(), **(settings or {"lr": 0.1, "momentum": 0.9})
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    if evaluated:
        model.eval()  # Fine-tuned with the statistics of before, of which there are none.
    for step, part in zip(range(STEPS), batches(generator, len(features), batch), strict=False):
        inputs = features[part]
        if step >= blank_at:
            inputs = inputs.clone()
            inputs[0] = 0.0
        if step == vanished_at:
            with torch.no_grad():
                model[0].direction[5] = 0.0
        loss = nn.functional.cross_entropy(model(inputs), classes[part])
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


def _one_cycle(step: int) -> float:
    """Rise to the peak at a third, fall to almost nothing."""
    third = STEPS / 3
    if step < third:
        return 0.1 + 0.9 * step / third
    return 0.001 + 0.5 * (1 + math.cos(math.pi * (step - third) / (STEPS - third)))


def _one_cycle_up(step: int) -> float:
    """Leave out a sign: what should fall after the peak grows."""
    return _one_cycle(step) if step < STEPS / 3 else math.exp((step - STEPS / 3) / 5)


def _one_cycle_fast(step: int) -> float:
    """Stay at the end after 3 steps, as the cycle was given epochs."""
    return 0.1 if step < 3 else 0.0


NORMS = Family("norms", _train, STEPS, LN_10)
_WEIGHT: dict[str, Any] = {"norm": "weight", "settings": {"lr": 0.05, "momentum": 0.9}}
_SPECTRAL: dict[str, Any] = {"norm": "spectral", "settings": {"lr": 0.5, "momentum": 0.9}}
_TANH: dict[str, Any] = {"activation": "Tanh", "settings": {"lr": 0.03, "momentum": 0.9}}
_PLAIN: dict[str, Any] = {"norm": "", "settings": {"lr": 0.1, "momentum": 0.9}}

SCENARIOS: tuple[Scenario, ...] = (
    NORMS.healthy("norms_batch"),
    NORMS.healthy("norms_batch_deep", "depth 20", depth=20, width=32, settings={"lr": 0.05}),
    NORMS.healthy("norms_batch_huge", "weights 1000 times as large", gain=1000.0),
    NORMS.healthy("norms_weight", "lengths apart from directions", **_WEIGHT),
    NORMS.healthy("norms_spectral", "largest singular value 1", **_SPECTRAL),
    NORMS.healthy("norms_rms", "blank images from a step on", norm="rms", blank_at=80),
    NORMS.healthy("norms_tanh", **_TANH),
    NORMS.healthy("norms_plain", **_PLAIN),
    NORMS.healthy("norms_one_cycle", "lr ends near 0", schedule=_one_cycle, **_PLAIN),
    NORMS.ill(
        "norms_none_deep",
        "vanishing",
        "norms_batch_deep",
        norm="",
        depth=20,
        width=32,
        settings={"lr": 0.05},
    ),
    NORMS.ill(
        "norms_none_huge",
        "exploding",
        "norms_batch_huge",
        "initialization",
        "non_finite",
        norm="",
        gain=1000.0,
    ),
    NORMS.ill(
        "norms_rms_of_0",
        "non_finite",
        "norms_rms",
        onset=80,
        trap="no bias: a blank image is 0 in every layer, and 0 / 0",
        norm="rms",
        eps=0.0,
        blank_at=80,
    ),
    NORMS.ill(
        "norms_direction_of_0",
        "non_finite",
        "norms_weight",
        onset=100,
        trap="one unit was pruned in place; its direction has no length",
        eps=0.0,
        vanished_at=100,
        **_WEIGHT,
    ),
    NORMS.ill("norms_shifted", "dead", "norms_batch", "vanishing", "initialization", shift=-9.0),
    NORMS.ill(
        "norms_saturated",
        "saturated",
        "norms_tanh",
        "vanishing",
        "initialization",
        trap="scale and shift of the norm drive tanh to one end",
        shift=8.0,
        **_TANH,
    ),
    NORMS.ill(
        "norms_tiny_lengths", "vanishing", "norms_weight", "initialization", length=1e-3, **_WEIGHT
    ),
    NORMS.ill(
        "norms_evaluated",
        "vanishing",
        "norms_batch_deep",
        trap="in evaluation mode the norm does nothing",
        evaluated=True,
        depth=20,
        width=32,
        settings={"lr": 0.05},
    ),
    NORMS.ill(
        "norms_one_cycle_up",
        "exploding",
        "norms_one_cycle",
        "dead",
        "non_finite",
        onset=50,
        schedule=_one_cycle_up,
        **_PLAIN,
    ),
    NORMS.ill(
        "norms_one_cycle_fast",
        "unchanged",
        "norms_one_cycle",
        onset=3,
        schedule=_one_cycle_fast,
        **_PLAIN,
    ),
)

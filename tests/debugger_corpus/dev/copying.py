"""Copy and mark a sequence: a 1-D convolution before a two-way GRU, a tag for each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, jump, raised, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 120
SYMBOLS, LENGTH = 8, 12


def _copies(generator: numpy.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    """Ask for the symbol of a step before."""
    import torch

    symbols = torch.from_numpy(generator.integers(0, SYMBOLS, (size, LENGTH)))
    return symbols, symbols.roll(1, dims=1)


def _model(
    *, hidden: int, norm: bool, gain: float, activation: str, bias: float, update: float, wide: int
) -> nn.Module:
    import torch
    from torch import nn

    class Copier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(SYMBOLS, wide)
            self.front = nn.Conv1d(wide, wide, 3, padding=1)
            self.norm = nn.GroupNorm(4, wide) if norm else nn.Identity()
            self.unit = getattr(nn, activation)()
            self.gru = nn.GRU(wide, hidden, batch_first=True, bidirectional=True)
            self.head = nn.Linear(2 * hidden, SYMBOLS)
            with torch.no_grad():
                self.front.weight.mul_(gain)
                if self.front.bias is not None:
                    self.front.bias.add_(bias)
                for name, parameter in self.gru.named_parameters():
                    if name.startswith("bias_ih"):
                        # Near 1 this gate keeps the state as it is, which starts at 0.
                        parameter[hidden : 2 * hidden] += update

        def forward(self, symbols: Tensor) -> Tensor:
            seen = self.front(self.embedding(symbols).transpose(1, 2))
            states, _ = self.gru(self.unit(self.norm(seen)).transpose(1, 2))
            tags: Tensor = self.head(states)
            return tags

    return Copier()


def _train(
    seed: int,
    *,
    hidden: int = 24,
    wide: int = 16,
    norm: bool = True,
    gain: float = 1.0,
    activation: str = "ReLU",
    bias: float = 0.0,
    update: float = 0.0,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    clip_value: float = 0.0,
    reduction: str = "mean",
    loss_of: str = "entropy",
    size: int = 32,
    cut: bool = False,
    dtype: str = "float32",
    after: int = STEPS,
    grow: float = 1.0,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    model: Any = _model(
        hidden=hidden,
        norm=norm,
        gain=gain,
        activation=activation,
        bias=bias,
        update=update,
        wide=wide,
    ).to(getattr(torch, dtype))
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 1e-2}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step in range(STEPS):
        symbols, tags = _copies(generator, size)
        logits = model(symbols).float().flatten(0, 1)
        if cut:
            logits = torch.tensor(logits.tolist(), requires_grad=True)
        if loss_of == "entropy":
            loss = nn.functional.cross_entropy(logits, tags.flatten(), reduction=reduction)
        else:
            # Sharpened more and more; the shares of wrong symbols reach 0.
            sharpness = 1.0 if step < after else grow ** (step - after)
            shares = (logits * sharpness).softmax(1)
            if loss_of == "safe":
                shares = shares.clamp_min(1e-5)
            loss = -shares.gather(1, tags.flatten()[:, None]).log().mean()
        chosen.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if clip_value:
            nn.utils.clip_grad_value_(model.parameters(), clip_value)
        chosen.step()
        scheduler.step()
        yield loss.item() / (size * LENGTH if reduction == "sum" else 1)


COPYING = Family("copying", _train, STEPS, math.log(SYMBOLS))
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.5, "momentum": 0.9}}
_TANH: dict[str, Any] = {"norm": False, "activation": "Tanh", **_SGD}
_VALUE: dict[str, Any] = {"clip_value": 0.02, "norm": False, **_SGD}
_NADAM: dict[str, Any] = {"optimizer": "NAdam", "settings": {"lr": 8e-3}}

SCENARIOS: tuple[Scenario, ...] = (
    COPYING.healthy("copy_adam"),
    COPYING.healthy("copy_sgd", **_SGD),
    COPYING.healthy("copy_tanh", **_TANH),
    COPYING.healthy("copy_clip_value", "always clipped", **_VALUE),
    COPYING.healthy("copy_nadam", norm=False, **_NADAM),
    COPYING.healthy("copy_no_momentum", optimizer="SGD", settings={"lr": 2.0}, size=64),
    COPYING.healthy(
        "copy_sharpened", "shares become 0 and 1", loss_of="safe", after=80, grow=1.02
    ),
    COPYING.ill(
        "copy_sharpened_unsafe",
        "non_finite",
        "copy_sharpened",
        onset=80,
        trap="sharper in each step, until a share is 0 and its logarithm infinite",
        loss_of="unsafe",
        after=80,
        grow=1.3,
    ),
    COPYING.ill(
        "copy_update_gates_shut",
        "vanishing",
        "copy_sgd",
        "saturated",
        "initialization",
        trap="gates keep the state of 0",
        update=18.0,
        **_SGD,
    ),
    COPYING.ill(
        "copy_front_at_its_ends",
        "saturated",
        "copy_tanh",
        "initialization",
        "vanishing",
        bias=30.0,
        **_TANH,
    ),
    COPYING.ill(
        "copy_dead_front",
        "dead",
        "copy_clip_value",
        "initialization",
        "vanishing",
        bias=-9.0,
        **_VALUE,
    ),
    COPYING.ill(
        "copy_summed_loss", "exploding", "copy_tanh", "saturated", reduction="sum", **_TANH
    ),
    COPYING.ill(
        "copy_lr_raised",
        "exploding",
        "copy_clip_value",
        "saturated",
        "dead",
        onset=80,
        trap="behind clipping by value",
        schedule=raised(80, 500.0),
        **_VALUE,
    ),
    COPYING.ill(
        "copy_lr_jump",
        "exploding",
        "copy_nadam",
        "saturated",
        "dead",
        onset=70,
        trap="a single step with a wrong rate",
        schedule=jump(70, 2e4),
        norm=False,
        **_NADAM,
    ),
    COPYING.ill("copy_through_lists", "unchanged", "copy_adam", cut=True),
)

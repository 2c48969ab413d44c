"""Deep equilibrium: one layer is applied until its state no longer changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    constant,
    digits,
    ramp,
    seeded,
)
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 130


def _model(
    *,
    width: int,
    activation: str,
    turns: int,
    slopes: str,
    gain: float,
    radius: float,
    bias: float,
    damping: float,
    eps: float,
    inject: float,
) -> nn.Module:
    import torch
    from torch import nn

    class Equilibrium(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inject = nn.Linear(64, width)
            self.turn = nn.Linear(width, width)
            self.norm = nn.LayerNorm(width) if slopes == "normed" else nn.Identity()
            self.unit = getattr(nn, activation)()
            self.head = nn.Linear(width, 10)
            with torch.no_grad():
                self.inject.weight.mul_(inject)
                self.turn.bias.add_(bias)
                if radius:
                    self.turn.weight.copy_(radius * torch.eye(width))
                self.turn.weight.mul_(gain)

        def once(self, state: Tensor, given: Tensor) -> Tensor:
            new: Tensor = self.unit(self.norm(self.turn(state) + given))
            return (1 - damping) * state + damping * new

        def forward(self, images: Tensor) -> Tensor:
            given = self.inject(images)
            old = state = torch.zeros_like(given)
            if slopes == "last":
                with torch.no_grad():
                    for _ in range(turns):
                        old, state = state, self.once(state, given)
                state = self.once(state, given)
            else:
                for _ in range(turns):
                    old, state = state, self.once(state, given)
            if slopes == "residual":
                # How far it still is from rest, as a share of its size, tells when to stop.
                rest = (state - old).norm(dim=1, keepdim=True)
                state = state * (1 - 0.01 * rest / (state.norm(dim=1, keepdim=True) + eps))
            logits: Tensor = self.head(state)
            return logits

    return Equilibrium()


def _train(
    seed: int,
    *,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    batch: int = 48,
    clip: float = 0.0,
    scale: float = 1.0,
    blank_at: int = STEPS,
    offset: float = 0.0,
    gain_at: tuple[int, float] = (STEPS, 1.0),
    **build: Any,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    plain: dict[str, Any] = {"width": 48, "activation": "Tanh", "turns": 10, "slopes": "all"}
    rest: dict[str, Any] = {"gain": 1.0, "radius": 0.0, "bias": 0.0, "damping": 1.0}
    last: dict[str, Any] = {"eps": 1e-6, "inject": 1.0}
    model: Any = _model(**(plain | rest | last | build))
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 3e-3}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step, part in zip(range(STEPS), batches(generator, len(features), batch), strict=False):
        inputs = features[part] + offset
        if step == gain_at[0]:
            with torch.no_grad():
                # Weights of another run, whose turns were damped, are put in.
                model.turn.weight.mul_(gain_at[1])
        if step == blank_at:
            with torch.no_grad():
                # Biases are set to 0 "to start the second phase", and a blank image comes.
                model.inject.bias.zero_()
                model.turn.bias.zero_()
        if step >= blank_at:
            inputs = inputs.clone()
            inputs[0] = 0.0
            for module in (model.inject, model.turn):
                module.bias.requires_grad_(False)
        loss = nn.functional.cross_entropy(model(inputs), classes[part])
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


REST = Family("equilibrium", _train, STEPS, LN_10)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.1, "momentum": 0.9}}
_RELU: dict[str, Any] = {"activation": "ReLU", "optimizer": "SGD", "settings": {"lr": 0.05}}
_NORMED: dict[str, Any] = {"activation": "ReLU", "slopes": "normed", **_SGD}

SCENARIOS: tuple[Scenario, ...] = (
    REST.healthy("rest_unrolled"),
    REST.healthy("rest_last_turn", "slopes through the last turn only", slopes="last", turns=20),
    REST.healthy("rest_damped", damping=0.5, optimizer="RMSprop", settings={"lr": 1e-3}),
    REST.healthy("rest_sgd", **_SGD),
    REST.healthy("rest_relu", **_RELU),
    REST.healthy("rest_normed", turns=15, **_NORMED),
    REST.healthy("rest_clipped", "always clipped", clip=0.2, **_SGD),
    REST.healthy("rest_residual", slopes="residual", blank_at=70),
    REST.ill(
        "rest_residual_of_0",
        "non_finite",
        "rest_residual",
        onset=70,
        trap="0 / 0: a state that is 0 has no size",
        slopes="residual",
        blank_at=70,
        eps=0.0,
    ),
    REST.ill(
        "rest_tiny_lr",
        "unchanged",
        "rest_damped",
        damping=0.5,
        optimizer="RMSprop",
        settings={"lr": 1e-8},
    ),
    REST.ill(
        "rest_expanding",
        "exploding",
        "rest_relu",
        "initialization",
        "non_finite",
        "dead",
        trap="each turn makes the state larger",
        radius=2.2,
        **_RELU,
    ),
    REST.ill(
        "rest_expanding_clipped",
        "exploding",
        "rest_relu",
        "initialization",
        "dead",
        trap="each turn makes the state larger, behind clipping",
        radius=3.0,
        clip=0.5,
        **_RELU,
    ),
    REST.ill(
        "rest_uncentred",
        "saturated",
        "rest_sgd",
        "vanishing",
        trap="pixels far from 0",
        offset=150.0,
        **_SGD,
    ),
    REST.ill(
        "rest_small_injection",
        "vanishing",
        "rest_sgd",
        "initialization",
        trap="nothing of the picture reaches the state",
        inject=1e-2,
        damping=1e-5,
        **_SGD,
    ),
    REST.ill("rest_dead", "dead", "rest_relu", "vanishing", "initialization", bias=-25.0, **_RELU),
    REST.ill(
        "rest_gain_in_mid_run",
        "exploding",
        "rest_relu",
        "non_finite",
        "dead",
        onset=60,
        gain_at=(60, 6.0),
        **_RELU,
    ),
    REST.ill(
        "rest_lr_ramp",
        "exploding",
        "rest_clipped",
        "saturated",
        onset=70,
        schedule=ramp(70, 1.25),
        clip=0.2,
        **_SGD,
    ),
)

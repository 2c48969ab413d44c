"""Plain MLP on digits: activations, depth, initial weights, learning rates, faults of the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    constant,
    digits,
    jump,
    ramp,
    seeded,
)
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 180


def _activation(name: str) -> nn.Module:
    from torch import nn

    upper = {"relu": "ReLU", "selu": "SELU", "gelu": "GELU"}
    kind: type[nn.Module] = getattr(nn, upper.get(name, name.title()))
    return kind()


def _model(
    *, depth: int, width: int, activation: str, residual: bool, norm: bool, zero_head: bool
) -> nn.Module:
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(width)
            self.branch = nn.Sequential(nn.Linear(width, width), _activation(activation))
            self.out = nn.Linear(width, width)
            # The branch adds nothing at first: its inner layers get a gradient only later.
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x + self.out(self.branch(self.norm(x)))
            return y

    layers: list[nn.Module] = [nn.Linear(64, width), _activation(activation)]
    for _ in range(depth - 1):
        if residual:
            layers.append(Residual())
            continue
        layers.append(nn.Linear(width, width))
        if norm:
            layers.append(nn.LayerNorm(width))
        layers.append(_activation(activation))
    head = nn.Linear(width, 10)
    if zero_head:
        nn.init.zeros_(head.weight)
    return nn.Sequential(*layers, head)


def _initialise(model: nn.Module, *, scheme: str, gain: float, bias: float | None) -> None:
    """Set weights by a rule, times a gain; the head keeps its own bias."""
    import torch
    from torch import nn

    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for module in linears:
            if scheme == "xavier":
                nn.init.xavier_normal_(module.weight)
            elif scheme == "lecun":
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            elif scheme == "he":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            module.weight *= gain
        if bias is not None:
            for module in linears[:-1]:
                module.bias.fill_(bias)


def _train(
    seed: int,
    *,
    depth: int = 3,
    width: int = 64,
    activation: str = "relu",
    residual: bool = False,
    norm: bool = False,
    zero_head: bool = False,
    scheme: str = "default",
    gain: float = 1.0,
    bias: float | None = None,
    optimizer: str = "SGD",
    lr: float = 0.1,
    eps: float | None = None,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    scale: float = 1.0,
    mistake: str = "",
    raw: bool = False,
    spoil: Callable[[int, Tensor], Tensor] | None = None,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    if raw:
        features = features - features.min()  # Like pixels between 0 and 1: never negative.
    build = partial(
        _model,
        depth=depth,
        width=width,
        activation=activation,
        residual=residual,
        norm=norm,
        zero_head=zero_head,
    )
    model = build()
    _initialise(model, scheme=scheme, gain=gain, bias=bias)
    settings = {"lr": lr} if eps is None else {"lr": lr, "eps": eps}
    chosen: torch.optim.Optimizer = getattr(torch.optim, optimizer)(model.parameters(), **settings)
    if mistake == "replaced":
        model = build()  # The optimizer still holds the parameters of the first one.
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(features), 64)
    for step in range(STEPS):
        chosen_rows = next(rows)
        inputs = features[chosen_rows]
        if spoil is not None:
            inputs = spoil(step, inputs)
        logits = model(inputs)
        if mistake == "detached":
            logits = torch.tensor(logits.detach().numpy(), requires_grad=True)
        loss = nn.functional.cross_entropy(logits, classes[chosen_rows])
        chosen.zero_grad()
        (scale * loss).backward()
        if mistake == "cleared":
            chosen.zero_grad()  # Meant for the top of the loop.
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


def _nan_at(at: int, step: int, inputs: Tensor) -> Tensor:
    if step == at:
        inputs = inputs.clone()
        inputs[0, 20] = float("nan")
    return inputs


def _unscaled_at(at: int, factor: float, step: int, inputs: Tensor) -> Tensor:
    """Return one batch whose normalisation was forgotten."""
    return inputs * factor if step == at else inputs


MLP = Family("mlp", _train, STEPS, LN_10)
_DEEP_TANH: dict[str, Any] = {"depth": 20, "activation": "tanh", "lr": 0.02}
_ADAM: dict[str, Any] = {"optimizer": "Adam", "lr": 2e-3}
_DEEP: dict[str, Any] = {"depth": 30, "width": 48, **_ADAM}

SCENARIOS: tuple[Scenario, ...] = (
    MLP.healthy("mlp_relu"),
    MLP.healthy("mlp_relu_adam", **_ADAM),
    MLP.healthy("mlp_relu_8_adam", depth=8, **_ADAM),
    MLP.healthy("mlp_gelu", activation="gelu", lr=0.3),
    MLP.healthy("mlp_residual_30_sgd", depth=30, width=48, residual=True, lr=0.05),
    MLP.healthy("mlp_raw_pixels", "inputs all positive", raw=True),
    MLP.healthy("mlp_sigmoid_2", depth=2, activation="sigmoid", lr=0.5),
    MLP.healthy("mlp_tanh_20_xavier", "deep tanh, careful weights", scheme="xavier", **_DEEP_TANH),
    MLP.healthy("mlp_tanh", activation="tanh"),
    MLP.healthy("mlp_tanh_adam", activation="tanh", **_ADAM),
    MLP.healthy("mlp_tanh_clipped", activation="tanh", clip=1.0, lr=0.3),
    MLP.healthy("mlp_selu_30", "deep without norm", activation="selu", scheme="lecun", **_DEEP),
    MLP.healthy("mlp_residual_30", "30 zero-init branches", residual=True, **_DEEP),
    MLP.healthy("mlp_layer_norm_10", "deep with LayerNorm", depth=10, norm=True, **_ADAM),
    MLP.healthy("mlp_zero_head", "first gradient of the body is 0", zero_head=True),
    MLP.healthy("mlp_clip_always", "clipped in every step", clip=0.05, lr=1.0),
    MLP.healthy("mlp_loss_1e_7", "tiny gradients, but Adam", scale=1e-7, eps=1e-16, **_ADAM),
    MLP.healthy("mlp_loss_1e3", "large gradients, lr to match", scale=1e3, lr=1e-4),
    MLP.healthy(
        "mlp_spike_recovers",
        "one batch of 30 times the scale, clipped",
        clip=1.0,
        spoil=partial(_unscaled_at, 100, 30.0),
    ),
    MLP.healthy(
        "mlp_inactive_units", "most units off, not all", bias=-3.0, depth=1, width=256, scheme="he"
    ),
    MLP.ill(
        "mlp_sigmoid_20_vanishing",
        "vanishing",
        "mlp_sigmoid_2",
        depth=20,
        activation="sigmoid",
        lr=0.5,
    ),
    MLP.ill("mlp_tanh_20_vanishing", "vanishing", "mlp_tanh_20_xavier", gain=0.8, **_DEEP_TANH),
    MLP.ill(
        "mlp_relu_30_vanishing", "vanishing", "mlp_residual_30_sgd", lr=0.05, depth=30, width=48
    ),
    MLP.ill("mlp_small_init", "vanishing", "mlp_relu", "initialization", gain=0.02),
    MLP.ill(
        "mlp_zero_init",
        "initialization",
        "mlp_relu",
        "vanishing",
        "unchanged",
        "dead",
        gain=0.0,
        bias=0.0,
    ),
    MLP.ill("mlp_dead", "dead", "mlp_relu", "vanishing", "initialization", bias=-30.0),
    MLP.ill(
        "mlp_dead_late",
        "dead",
        "mlp_raw_pixels",
        "vanishing",
        "exploding",
        onset=130,
        raw=True,
        schedule=jump(130, 300.0),
    ),
    MLP.ill("mlp_sgd_overflow", "exploding", "mlp_gelu", "non_finite", lr=30.0, activation="gelu"),
    MLP.ill(
        "mlp_adam_lr_10",
        "exploding",
        "mlp_relu_adam",
        "dead",
        "vanishing",
        optimizer="Adam",
        lr=10.0,
    ),
    MLP.ill(
        "mlp_lr_ramp",
        "exploding",
        "mlp_gelu",
        "non_finite",
        onset=90,
        activation="gelu",
        lr=0.3,
        schedule=ramp(90, 1.1),
    ),
    MLP.ill(
        "mlp_adam_saturated",
        "saturated",
        "mlp_tanh_adam",
        "exploding",
        "vanishing",
        activation="tanh",
        optimizer="Adam",
        lr=1.0,
    ),
    MLP.ill(
        "mlp_clipped_explosion",
        "exploding",
        "mlp_tanh_clipped",
        "saturated",
        "vanishing",
        activation="tanh",
        clip=1.0,
        lr=30.0,
    ),
    MLP.ill(
        "mlp_exploding_init",
        "exploding",
        "mlp_relu_8_adam",
        "initialization",
        gain=12.0,
        depth=8,
        **_ADAM,
    ),
    MLP.ill("mlp_nan_batch", "non_finite", "mlp_relu", onset=120, spoil=partial(_nan_at, 120)),
    MLP.ill(
        "mlp_saturated_late",
        "saturated",
        "mlp_tanh",
        "exploding",
        onset=130,
        activation="tanh",
        schedule=jump(130, 3e4),
    ),
    MLP.ill("mlp_lr_0", "unchanged", "mlp_relu", lr=0.0),
    MLP.ill("mlp_replaced", "unchanged", "mlp_relu", mistake="replaced"),
    MLP.ill("mlp_detached", "unchanged", "mlp_relu", mistake="detached"),
    MLP.ill("mlp_cleared", "unchanged", "mlp_relu_adam", mistake="cleared", **_ADAM),
    MLP.ill("mlp_loss_1e_6_sgd", "unchanged", "mlp_relu", "vanishing", scale=1e-6),
)

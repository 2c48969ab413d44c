"""Initial weights that are constant or alike in a part of a network, and those that may be so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, digits, seeded
from tests.debugger_corpus.dev.transformer import TRANSFORMER
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import nn

STEPS = 180


def _start(layer: nn.Linear, start: str, value: float) -> None:
    """Set a hidden layer's weights in place."""
    import torch
    from torch import nn

    with torch.no_grad():
        if start == "constant":
            nn.init.constant_(layer.weight, value)
        elif start == "rows alike":
            # One neuron was drawn, and copied for all of the layer.
            layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
        elif start == "identity":
            nn.init.eye_(layer.weight)
        elif start == "orthogonal":
            nn.init.orthogonal_(layer.weight, value)
        layer.bias.zero_()


def _perceptron(
    seed: int,
    *,
    depth: int = 4,
    width: int = 48,
    activation: str = "ReLU",
    start: str,
    value: float = 1.0,
    optimizer: str = "SGD",
    lr: float = 0.1,
) -> Iterator[float]:
    """Classify digits; the first and the last layer start as usual, those between do not."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    act: type[nn.Module] = getattr(nn, activation)
    model = nn.Sequential(nn.Linear(64, width), act())
    for _ in range(depth):
        hidden = nn.Linear(width, width)
        _start(hidden, start, value)
        model.extend([hidden, act()])
    model.append(nn.Linear(width, 10))
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        loss = nn.functional.cross_entropy(model(features[chosen_rows]), classes[chosen_rows])
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        yield loss.item()


STARTS = Family("mlp", _perceptron, STEPS, LN_10)
_TANH: dict[str, Any] = {"depth": 8, "activation": "Tanh", "lr": 0.05}
_SLOW: dict[str, Any] = {"depth": 8, "lr": 0.02}

SCENARIOS: tuple[Scenario, ...] = (
    STARTS.healthy("mlp_identity", "hidden matrices are the identity", start="identity"),
    STARTS.healthy("mlp_identity_8", start="identity", **_SLOW),
    STARTS.healthy("mlp_orthogonal_tanh", start="orthogonal", **_TANH),
    STARTS.ill(
        "mlp_hidden_zero",
        "initialization",
        "mlp_identity",
        "vanishing",
        "dead",
        "unchanged",
        start="constant",
        value=0.0,
    ),
    STARTS.ill(
        "mlp_hidden_constant",
        "initialization",
        "mlp_identity_8",
        "vanishing",
        trap="all units of a layer alike, gradients are not small",
        start="constant",
        value=0.02,
        **_SLOW,
    ),
    STARTS.ill(
        "mlp_rows_alike",
        "initialization",
        "mlp_orthogonal_tanh",
        "vanishing",
        start="rows alike",
        **_TANH,
    ),
    TRANSFORMER.healthy("transformer_reads_first", "answer read off one token", reads_first=True),
    TRANSFORMER.healthy(
        "transformer_zero_branches",
        "last layers of branches are zero, so the first ones have no gradients at first",
        reads_first=True,
        zeros=("attention.out", "perceptron.2"),
    ),
    TRANSFORMER.ill(
        "transformer_attention_zero",
        "initialization",
        "transformer_reads_first",
        "unchanged",
        "vanishing",
        reads_first=True,
        zeros=("attention",),
    ),
)

"""Classifiers that compare directions: an embedding, and a head of cosines with a margin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, digits, seeded
from tests.debugger_corpus.dev._descent import descend, tabular
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 150


def _embedder(depth: int, width: int, inputs: int, bias: float, act: str) -> nn.Sequential:
    from torch import nn

    activation: type[nn.Module] = getattr(nn, act)
    model = nn.Sequential()
    for number in range(depth):
        layer = nn.Linear(inputs if number == 0 else width, width)
        nn.init.constant_(layer.bias, bias)
        model.extend([layer, activation()])
    return model


def _train(
    seed: int,
    *,
    depth: int = 3,
    width: int = 48,
    act: str = "ReLU",
    bias: float = 0.0,
    data: str = "digits",
    batch: int = 64,
    scale: float = 16.0,
    margin: float = 0.1,
    floor: float = 1e-6,
    even: bool = False,
    blank_at: int = -1,
    angle: bool = False,
    numbers: bool = False,
    **loop: Any,
) -> Iterator[float]:
    """Classify by the cosines to a direction for each class.

    Args:
        bias: Of the hidden layers at first.
        scale: What cosines are multiplied with; it is not learnt.
        margin: Taken off the cosine of what is right.
        floor: Added to the length that an embedding is divided by.
        even: All parameters start at one and the same value.
        blank_at: A step with a picture that is empty (and layers that have no bias).
        angle: Margins are added to angles, by the inverse cosine (without a clamp).
        numbers: Directions of classes are kept as an array, and made a tensor when needed.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits() if data == "digits" else tabular(data)
    count = int(classes.max()) + 1
    model = _embedder(depth, width, features.shape[1], bias, act)
    directions = nn.Parameter(torch.randn(count, width))
    if even:
        for parameter in [*model.parameters(), directions]:
            nn.init.constant_(parameter, 0.05)
    if blank_at >= 0:
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.bias = None  # type: ignore[assignment]
    table = directions.detach().numpy()
    rows = batches(generator, len(features), batch)

    def loss_at(step: int) -> Tensor:
        chosen = next(rows)
        inputs, wanted = features[chosen], classes[chosen]
        if step == blank_at:
            inputs[9] = 0.0
        embedding = model(inputs)
        if numbers:
            embedding = torch.from_numpy(embedding.detach().numpy())
        unit = embedding / (embedding.square().sum(1, keepdim=True).sqrt() + floor)
        places = torch.from_numpy(table.copy()) if numbers else directions
        cosines = unit @ nn.functional.normalize(places, dim=1).T
        right = nn.functional.one_hot(wanted, count).float()
        logits = (cosines.acos() + margin * right).cos() if angle else cosines - margin * right
        gain = calibration if numbers else torch.ones(())
        return nn.functional.cross_entropy(scale * gain * logits, wanted)

    calibration = nn.Parameter(torch.ones(()))
    given = [*model.parameters(), directions, calibration]
    return descend(loss_at, given, STEPS, **loop)


def _triple(
    seed: int, *, hinge: float, power: float, optimizer: str, lr: float, **options: Any
) -> Iterator[float]:
    """Pull embeddings to the centre of their class and push them from the nearest other one.

    Args:
        hinge: How much nearer the right centre must be, in squared distance.
        power: Of the distance; that of 0.5 has no gradient where it is zero.
        optimizer: Name of a class.
        lr: Its learning rate.
        options: Its other arguments.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))
    centres = nn.Parameter(0.3 * torch.randn(10, 8))
    given = [*model.parameters(), centres]
    chosen = getattr(torch.optim, optimizer)(given, lr=lr, **options)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        numbers = next(rows)
        wanted = classes[numbers]
        away = (model(features[numbers])[:, None] - centres).square().sum(2).pow(power)
        right = nn.functional.one_hot(wanted, 10).bool()
        near, far = away[right], away.masked_fill(right, math.inf).amin(1)
        loss = (near - far + hinge).relu().mean()
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        yield loss.item()


def _never_stops(step: int) -> float:
    """Fall linearly, to zero and below it."""
    return 1.0 - step / 50


COSINE = Family("cosine", _train, STEPS, LN_10)
WINE = Family("cosine", _train, STEPS, math.log(3))
CELLS = Family("cosine", _train, STEPS, math.log(2))
TRIPLE = Family("cosine", _triple, STEPS)
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.1, "options": {"weight_decay": 1e-4}}
_ADAM: dict[str, Any] = {"optimizer": "AdamW", "lr": 3e-3, "batch": 128, "act": "Tanh"}
_DEEP: dict[str, Any] = {"depth": 12, "act": "Tanh", "width": 32, "optimizer": "RMSprop"}
_WINE: dict[str, Any] = {"data": "wine", "batch": 24, "width": 12, "depth": 2, "lr": 0.01}
_CELLS: dict[str, Any] = {
    "data": "breast_cancer",
    "batch": 50,
    "width": 16,
    "optimizer": "Adagrad",
    "lr": 0.05,
}

SCENARIOS: tuple[Scenario, ...] = (
    COSINE.healthy("cosine_sgd", **_SGD),
    COSINE.healthy("cosine_adam", blank_at=2000, **_ADAM),
    COSINE.healthy("cosine_sharp", "noisy, large scale", scale=64.0, margin=0.2, **_ADAM),
    COSINE.ill(
        "cosine_blank",
        "non_finite",
        "cosine_adam",
        onset=64,
        trap="length 0: the root has no gradient there",
        blank_at=64,
        **_ADAM,
    ),
    COSINE.ill("cosine_dead", "dead", "cosine_sgd", bias=-8.0, **_SGD),
    COSINE.ill(
        "cosine_decay_below_zero",
        "exploding",
        "cosine_adam",
        "saturated",
        onset=50,
        trap="logits are bounded: only weights grow",
        schedule=_never_stops,
        **_ADAM,
    ),
    COSINE.healthy("cosine_deep", **_DEEP),
    COSINE.ill(
        "cosine_scale_missing",
        "vanishing",
        "cosine_sgd",
        "unchanged",
        scale=1e-4,
        **_SGD,
    ),
    COSINE.ill("cosine_deep_sigmoid", "vanishing", "cosine_deep", **_DEEP | {"act": "Sigmoid"}),
    WINE.healthy("cosine_wine", **_WINE),
    WINE.ill("cosine_wine_arrays", "unchanged", "cosine_wine", numbers=True, **_WINE),
    CELLS.healthy("cosine_angle", "margins of angles", **_CELLS),
    CELLS.ill("cosine_even", "initialization", "cosine_angle", even=True, **_CELLS),
    TRIPLE.healthy(
        "cosine_centres",
        "hinge: gradients of most rows 0",
        hinge=1.0,
        power=1.0,
        optimizer="Adam",
        lr=5e-3,
    ),
    TRIPLE.healthy(
        "cosine_centres_momentum",
        "momentum 0.98",
        hinge=1.0,
        power=1.0,
        optimizer="SGD",
        lr=0.02,
        momentum=0.98,
    ),
    TRIPLE.ill(
        "cosine_centres_lr_high",
        "exploding",
        "cosine_centres_momentum",
        "saturated",
        hinge=1.0,
        power=1.0,
        optimizer="SGD",
        lr=10.0,
        momentum=0.98,
    ),
)

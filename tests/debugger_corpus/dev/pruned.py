"""Sparse MLP: masks over weights, set by size, by chance or in steps during training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, constant, digits, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import nn

STEPS = 160


def _model(depth: int, width: int, activation: str) -> nn.Sequential:
    from torch import nn

    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else 64, width), getattr(nn, activation)()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def _prune(model: Any, amount: float, how: str, *, only: int | None = None) -> None:
    """Mask a share of the weights of all layers but the last, or of one layer."""
    from torch import nn
    from torch.nn.utils import prune

    layers = [layer for layer in model if isinstance(layer, nn.Linear)][:-1]
    for layer in layers if only is None else layers[only : only + 1]:
        if how == "size":
            prune.l1_unstructured(layer, "weight", amount=amount)
        elif how == "rows":
            prune.ln_structured(layer, "weight", amount=amount, n=2, dim=0)
        else:
            prune.random_unstructured(layer, "weight", amount=amount)


def _rescale(model: Any, gain: float, bias: float) -> None:
    """Make up for the weights that are gone."""
    import torch
    from torch import nn

    with torch.no_grad():
        for layer in [layer for layer in model if isinstance(layer, nn.Linear)][:-1]:
            weight: Any = layer.weight_orig if hasattr(layer, "weight_orig") else layer.weight
            weight.mul_(gain)
            layer.bias.add_(bias)


def _train(
    seed: int,
    *,
    depth: int = 3,
    width: int = 64,
    activation: str = "ReLU",
    amount: float = 0.5,
    how: str = "chance",
    only: int | None = None,
    gain: float = 1.0,
    bias: float = 0.0,
    optimizer: str = "SGD",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    gradual: tuple[int, ...] = (),
    then: float = 0.3,
    early: bool = False,
    clip: float = 0.0,
    share: str = "",
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model: Any = _model(depth, width, activation)
    settings = settings or {"lr": 0.1, "momentum": 0.9}
    # Pruning renames parameters: an optimizer that is made before keeps tensors, not names.
    if amount and not early:
        _prune(model, amount, how, only=only)
    _rescale(model, gain, bias)
    chosen: Any = getattr(torch.optim, optimizer)(model.parameters(), **settings)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step, part in zip(range(STEPS), batches(generator, len(features), 64), strict=False):
        if step in gradual:
            _prune(model, then, "size")
        loss = nn.functional.cross_entropy(model(features[part]), classes[part])
        if share:
            # A penalty by the kept share of weights, for which there may be nothing left.
            kept = [(layer.weight != 0).float().mean() for layer in model[:-1:2]]
            total = torch.stack(kept).sum()
            loss = loss + 1e-3 * (total + (1e-6 if share == "safe" else 0)).log().abs()
            sizes = torch.stack([layer.weight.square().sum() for layer in model[:-1:2]])
            loss = loss + 1e-4 * (sizes + (1e-6 if share == "safe" else 0)).sqrt().sum()
        chosen.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


def _rewound(
    seed: int, *, at: int = 60, lr: float = 5e-3, remade: bool = True, kept: float = 0.3
) -> Iterator[float]:
    """Train, mask by size, go back to the first weights, and train again (a winning ticket)."""
    import copy

    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model: Any = _model(2, 64, "ReLU")
    first = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.RMSprop(model.parameters(), lr=lr)
    masks: dict[str, Any] = {}
    for step, part in zip(range(STEPS), batches(generator, len(features), 32), strict=False):
        if step == at:
            for name, parameter in model.named_parameters():
                if parameter.dim() == 2 and not name.startswith("4"):
                    masks[name] = (
                        parameter.abs() >= parameter.detach().abs().quantile(1 - kept)
                    ).float()
            again = _model(2, 64, "ReLU")
            again.load_state_dict(first)
            model = again
            if remade:
                optimizer = torch.optim.RMSprop(model.parameters(), lr=lr)
        with torch.no_grad():
            for name, mask in masks.items():
                model.get_parameter(name).mul_(mask)
        loss = nn.functional.cross_entropy(model(features[part]), classes[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _cycle(step: int) -> float:
    """Rise and fall in triangles, between a tenth and the whole."""
    return 0.1 + 0.9 * abs(step % 40 - 20) / 20


def _cycle_wrong(step: int) -> float:
    """Take the number of a cycle for a share of it."""
    return _cycle(step) if step < 80 else 0.1 + 90.0 * (step % 40 + step // 40)


PRUNED = Family("pruned", _train, STEPS, LN_10)
REWOUND = Family("pruned", _rewound, STEPS, LN_10)
_TANH: dict[str, Any] = {"activation": "Tanh", "depth": 4}
_MILD: dict[str, Any] = {"settings": {"lr": 0.4, "momentum": 0.0}, "width": 128}

SCENARIOS: tuple[Scenario, ...] = (
    PRUNED.healthy("pruned_by_chance", "half of the gradients are 0"),
    PRUNED.healthy("pruned_by_size", "nine tenths of the weights are 0", amount=0.9, how="size"),
    PRUNED.healthy("pruned_rows", "half of the units never fire", amount=0.5, how="rows"),
    PRUNED.healthy("pruned_gradually", "more masks in mid-run", amount=0.0, gradual=(50, 80, 110)),
    PRUNED.healthy("pruned_tanh", **_TANH),
    PRUNED.healthy("pruned_mild", "no momentum, wide", **_MILD),
    PRUNED.healthy("pruned_cyclic", "lr rises and falls", schedule=_cycle, clip=1.0),
    PRUNED.healthy(
        "pruned_safe_share",
        share="safe",
        how="rows",
        amount=0.5,
        optimizer="Adam",
        settings={"lr": 3e-3},
    ),
    REWOUND.healthy("pruned_rewound", "all weights go back in mid-run"),
    REWOUND.ill(
        "pruned_rewound_stale",
        "unchanged",
        "pruned_rewound",
        onset=60,
        trap="the optimizer keeps the weights of before",
        remade=False,
    ),
    PRUNED.ill(
        "pruned_everything",
        "vanishing",
        "pruned_mild",
        "dead",
        "initialization",
        trap="the shares to keep and to drop were mixed up in the first layer",
        amount=1.0,
        only=0,
        bias=-0.2,
        **_MILD,
    ),
    PRUNED.ill(
        "pruned_everything_late",
        "vanishing",
        "pruned_gradually",
        "dead",
        onset=80,
        trap="the last masks leave nothing",
        amount=0.0,
        gradual=(80,),
        then=1.0,
    ),
    PRUNED.ill(
        "pruned_too_thin",
        "vanishing",
        "pruned_tanh",
        "initialization",
        trap="one weight in a hundred is left, the others are not made larger for it",
        amount=0.99,
        activation="Tanh",
        depth=8,
        gain=0.3,
    ),
    PRUNED.ill(
        "pruned_rescaled",
        "exploding",
        "pruned_mild",
        "initialization",
        "dead",
        trap="made up for by the share of kept weights, not its root",
        gain=20.0,
        **_MILD,
    ),
    PRUNED.ill(
        "pruned_nothing_left",
        "non_finite",
        "pruned_safe_share",
        trap="root of 0: the size of a layer without weights",
        share="plain",
        how="rows",
        amount=1.0,
        only=1,
        optimizer="Adam",
        settings={"lr": 3e-3},
    ),
    PRUNED.ill(
        "pruned_cycle_wrong",
        "exploding",
        "pruned_cyclic",
        "dead",
        "non_finite",
        onset=80,
        schedule=_cycle_wrong,
        clip=1.0,
    ),
    PRUNED.ill(
        "pruned_dead", "dead", "pruned_by_chance", "initialization", "vanishing", bias=-10.0
    ),
)

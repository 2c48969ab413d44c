"""Differentiable ranks: a network scores rows, soft ranks are compared with true ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, raised, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 150
ROWS = 10


def _lists(generator: numpy.random.Generator, lists: int) -> tuple[Tensor, Tensor]:
    """Make lists of rows with eight features, and how good each row is."""
    import torch

    rows = torch.from_numpy(generator.normal(size=(lists, ROWS, 8))).float()
    good = rows[..., 0] + rows[..., 1].clamp_min(0) * 2 - rows[..., 2] * rows[..., 3].sign()
    return rows, good


def _ranks(scores: Tensor, temperature: float) -> Tensor:
    """Count softly how many rows of the list are below each."""
    import torch

    gaps = scores[..., :, None] - scores[..., None, :]
    return torch.sigmoid(gaps / temperature).sum(-1) - 0.5


def _sorted_shares(scores: Tensor, temperature: float) -> Tensor:
    """Return a soft permutation (NeuralSort): for each place, the shares of the rows."""
    import torch

    size = scores.shape[-1]
    apart = (scores[..., :, None] - scores[..., None, :]).abs().sum(-1)
    places = size + 1 - 2 * torch.arange(1, size + 1, dtype=torch.float32)
    return ((places[:, None] * scores[..., None, :] - apart[..., None, :]) / temperature).softmax(
        -1
    )


def _agreement(ranks: Tensor, wanted: Tensor, eps: float) -> Tensor:
    """Correlate soft ranks with true ones (Spearman)."""
    ranks = ranks - ranks.mean(-1, keepdim=True)
    wanted = wanted - wanted.mean(-1, keepdim=True)
    sizes = (ranks.square().sum(-1) + eps).sqrt() * wanted.square().sum(-1).sqrt()
    return (ranks * wanted).sum(-1) / sizes


def _scorer(depth: int, width: int, activation: str, gain: float, bias: float) -> nn.Sequential:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for number in range(depth):
        linear = nn.Linear(width if number else 8, width)
        with torch.no_grad():
            linear.weight.mul_(gain)
            linear.bias.add_(bias)
        layers += [linear, getattr(nn, activation)()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def _loss(measure: str, scores: Tensor, good: Tensor, temperature: float, eps: float) -> Tensor:
    import torch

    wanted = good.argsort(-1).argsort(-1).float()
    if measure == "ranks":
        return (_ranks(scores, temperature) - wanted).square().mean() / 10
    if measure == "spearman":
        return 1 - _agreement(_ranks(scores, temperature), wanted, eps).mean()
    if measure == "sort":
        shares = _sorted_shares(scores, temperature)
        truth = torch.nn.functional.one_hot(good.argsort(-1, descending=True), ROWS).float()
        return -((shares + eps).log() * truth).sum(-1).mean()
    # Likelihood of the whole order, place by place (ListMLE).
    ordered = scores.gather(-1, good.argsort(-1, descending=True))
    if measure == "order_by_hand":
        left = ordered.exp().flip(-1).cumsum(-1).flip(-1).log()
    else:
        left = ordered.flip(-1).logcumsumexp(-1).flip(-1)
    return (left - ordered).mean()


def _train(
    seed: int,
    *,
    measure: str = "ranks",
    temperature: float = 1.0,
    cooling: Callable[[int], float] = constant,
    eps: float = 1e-6,
    depth: int = 2,
    width: int = 32,
    activation: str = "ReLU",
    gain: float = 1.0,
    bias: float = 0.0,
    spread: float = 1.0,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    lists: int = 16,
    offset: float = 0.0,
    alike_at: int = STEPS,
    hard: bool = False,
    clip: float = 0.0,
    scale: float = 1.0,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    model: Any = _scorer(depth, width, activation, gain, bias)
    with torch.no_grad():
        model[-1].weight.mul_(spread)
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 1e-2}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step in range(STEPS):
        rows, good = _lists(generator, lists)
        if step >= alike_at:
            rows[0] = rows[0, :1]  # A list of one row ten times.
        scores = model(rows + offset)[..., 0]
        if hard:
            # Ranks by sorting have no slope: what is left is a penalty of the bias.
            scores = scores.detach() + 0 * model[-1].bias
        loss = _loss(measure, scores, good, temperature * cooling(step), eps)
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


def _cool(step: int) -> float:
    """Halve every thirty steps."""
    return float(0.5 ** (step / 30))


def _freeze(step: int) -> float:
    """Fall by a step at a time until there is no temperature left."""
    return max(0.0, 1 - step / 100)


RANKING = Family("ranking", _train, STEPS, 0.825)
"""Against equal ranks for all."""
OTHERS = Family("ranking", _train, STEPS)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.3, "momentum": 0.9}}
_TANH: dict[str, Any] = {"activation": "Tanh", "depth": 3, **_SGD}
_ORDER: dict[str, Any] = {
    "optimizer": "SGD",
    "settings": {"lr": 0.1, "momentum": 0.9},
    "clip": 0.5,
}

SCENARIOS: tuple[Scenario, ...] = (
    RANKING.healthy("ranking_ranks"),
    RANKING.healthy("ranking_sgd", **_SGD),
    RANKING.healthy("ranking_tanh", **_TANH),
    OTHERS.healthy("ranking_spearman", "lists of equal rows", measure="spearman", alike_at=80),
    OTHERS.healthy("ranking_sort", "soft permutation", measure="sort"),
    RANKING.healthy("ranking_cooled", "temperature falls", measure="ranks", cooling=_cool),
    OTHERS.healthy("ranking_order", "likelihood of the order", measure="order", **_ORDER),
    RANKING.healthy(
        "ranking_few", "two lists to a step", lists=2, optimizer="RMSprop", settings={"lr": 3e-3}
    ),
    OTHERS.ill(
        "ranking_equal_rows",
        "non_finite",
        "ranking_spearman",
        onset=80,
        trap="0 / 0: equal rows have ranks without spread",
        measure="spearman",
        alike_at=80,
        eps=0.0,
    ),
    RANKING.ill(
        "ranking_no_temperature",
        "non_finite",
        "ranking_cooled",
        onset=100,
        trap="0 / 0: a row's gap to itself over a temperature of 0",
        cooling=_freeze,
    ),
    RANKING.ill(
        "ranking_cold",
        "saturated",
        "ranking_sgd",
        "vanishing",
        trap="a temperature at which all comparisons are decided",
        temperature=1e-5,
        **_SGD,
    ),
    RANKING.ill(
        "ranking_hot",
        "vanishing",
        "ranking_tanh",
        "unchanged",
        trap="a temperature at which no comparison is",
        temperature=1e5,
        **_TANH,
    ),
    RANKING.ill(
        "ranking_uncentred",
        "saturated",
        "ranking_tanh",
        "vanishing",
        offset=500.0,
        **_TANH,
    ),
    RANKING.ill(
        "ranking_dead", "dead", "ranking_sgd", "vanishing", "initialization", bias=-9.0, **_SGD
    ),
    RANKING.ill(
        "ranking_zero_start",
        "initialization",
        "ranking_tanh",
        "vanishing",
        gain=0.0,
        spread=0.0,
        **_TANH,
    ),
    RANKING.ill("ranking_hard", "unchanged", "ranking_ranks", hard=True),
    OTHERS.ill(
        "ranking_lr_raised",
        "exploding",
        "ranking_order",
        "dead",
        onset=80,
        schedule=raised(80, 1000.0),
        measure="order",
        **_ORDER,
    ),
)

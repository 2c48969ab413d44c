"""Graph convolutions that find the blocks of a generated graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 150
NODES = 160
BLOCKS = 4
FEATURES = 12
Adjacency = Literal["normalised", "sum", "no_loops"]


def _graph(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return edges (0 or 1), noisy features and blocks of the nodes."""
    import torch

    blocks = rng.integers(0, BLOCKS, NODES)
    alike = blocks[:, None] == blocks[None]
    edges = np.triu(rng.random((NODES, NODES)) < np.where(alike, 0.25, 0.02), 1)
    centres = rng.normal(0, 1, (BLOCKS, FEATURES))
    features = centres[blocks] + rng.normal(0, 1.5, (NODES, FEATURES))
    return (
        torch.tensor(edges + edges.T, dtype=torch.float32),
        torch.tensor(features, dtype=torch.float32),
        torch.from_numpy(blocks),
    )


def _spread(edges: torch.Tensor, adjacency: Adjacency) -> torch.Tensor:
    """Return the matrix that spreads features over the graph."""
    import torch

    if adjacency == "sum":
        return edges + torch.eye(NODES)
    if adjacency == "normalised":
        edges = edges + torch.eye(NODES)
    # Without loops, a node that lost its last edge has degree 0: 0 * inf.
    scale = edges.sum(1).pow(-0.5)
    return scale[:, None] * edges * scale[None]


def _gcn(*, depth: int, sigmoid: bool, residual: bool, bias: float) -> nn.Module:
    import torch
    from torch import nn

    width = 24

    class Gcn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(FEATURES, width)
            self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
            self.norms = nn.ModuleList(
                nn.LayerNorm(width) if residual else nn.Identity() for _ in range(depth)
            )
            self.last = nn.Linear(width, BLOCKS)
            self.drop = nn.Dropout(0.2)
            for layer in (self.first, *self.inner):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.constant_(layer.bias, bias)

        def forward(self, x: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
            act = torch.sigmoid if sigmoid else torch.relu
            x = act(spread @ self.first(x))
            for layer, norm in zip(self.inner, self.norms, strict=True):
                y = self.drop(act(spread @ layer(norm(x))))
                x = x + y if residual else y
            return self.last(x)  # type: ignore[no-any-return]

    return Gcn()


def _train(
    seed: int,
    *,
    depth: int = 2,
    adjacency: Adjacency = "normalised",
    sigmoid: bool = False,
    residual: bool = False,
    bias: float = 0.0,
    drop_edges_from: int | None = None,
    sgd: bool = False,
    lr: float = 1e-2,
) -> Iterator[float]:
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    edges, features, blocks = _graph(rng)
    model = _gcn(depth=depth, sigmoid=sigmoid, residual=residual, bias=bias)
    optimizer: torch.optim.Optimizer = torch.optim.Adam(
        model.parameters(), lr=lr, weight_decay=5e-4
    )
    if sgd:
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    seen = torch.from_numpy(rng.random(NODES) < 0.5)
    for step in range(STEPS):
        kept = edges
        if drop_edges_from is not None and step >= drop_edges_from:
            mask = torch.triu((torch.rand_like(edges) < 0.4).float(), 1)
            kept = edges * (mask + mask.T)
        scores = model(features, _spread(kept, adjacency))
        loss = functional.cross_entropy(scores[seen], blocks[seen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


_run = partial(Scenario, half="held", architecture="gcn", steps=STEPS)
CHANCE = math.log(BLOCKS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="gcn_adam",
        kind="healthy",
        train=_train,
        trap="full batch, dropout, weight decay in the gradient",
    ),
    _run(
        name="gcn_edges_dropped",
        kind="healthy",
        train=partial(_train, drop_edges_from=110),
        trap="augmentation from step 110 on: a harder task, a small jump of the loss",
    ),
    _run(
        name="gcn_isolated_node",
        kind="non_finite",
        train=partial(_train, adjacency="no_loops", drop_edges_from=110),
        onset=110,
        twin="gcn_edges_dropped",
        trap="no loops: a node without edges gives 0 x infinity",
    ),
    _run(
        name="gcn_deep_residual",
        kind="healthy",
        train=partial(_train, depth=14, sigmoid=True, residual=True),
        trap="14 sigmoid layers, with shortcuts and layer normalisation",
    ),
    _run(
        name="gcn_deep_sigmoid",
        kind="vanishing",
        train=partial(_train, depth=14, sigmoid=True),
        twin="gcn_deep_residual",
        chance=CHANCE,
    ),
    _run(
        name="gcn_mostly_inactive",
        kind="healthy",
        train=partial(_train, bias=-0.4),
        trap="most ReLU units are silent for most nodes, but not all",
    ),
    _run(
        name="gcn_dead",
        kind="dead",
        train=partial(_train, bias=-20.0),
        also=frozenset({"vanishing", "initialization", "unchanged"}),
        twin="gcn_adam",
        chance=CHANCE,
    ),
    _run(
        name="gcn_sgd",
        kind="healthy",
        train=partial(_train, depth=4, sgd=True, lr=0.05),
    ),
    _run(
        name="gcn_sum_not_normalised",
        kind="exploding",
        train=partial(_train, depth=4, adjacency="sum", sgd=True, lr=0.05),
        also=frozenset({"dead", "non_finite", "initialization", "vanishing"}),
        twin="gcn_sgd",
        chance=CHANCE,
        trap="features are added up along edges, layer by layer",
    ),
)

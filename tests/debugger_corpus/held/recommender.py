"""Two towers with an embedding of 20 000 users and one of 20 000 items."""

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

STEPS = 180
ROWS = 20_000
ACTIVE = 120
Method = Literal["sparse_adam", "adagrad", "adam", "sgd", "sgd_sparse"]
Handed = Literal["all", "biases"]


def _towers(*, sparse: bool, std: float, plain: bool) -> nn.Module:
    import torch
    from torch import nn

    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users = nn.Embedding(ROWS, 8, sparse=sparse)
            self.items = nn.Embedding(ROWS, 8, sparse=sparse)
            nn.init.normal_(self.users.weight, std=std)
            nn.init.normal_(self.items.weight, std=std)
            self.user_tower = nn.Identity() if plain else _tower()
            self.item_tower = nn.Identity() if plain else _tower()
            self.bias = nn.Parameter(torch.zeros(()))

        def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
            left = self.user_tower(self.users(users))
            right = self.item_tower(self.items(items))
            return (left * right).sum(-1) + self.bias  # type: ignore[no-any-return]

    def _tower() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))

    return Towers()


def _optimizers(model: nn.Module, method: Method, handed: Handed) -> list[torch.optim.Optimizer]:
    import torch

    if handed == "biases":
        # A filter meant to leave weight decay off the biases keeps nothing but them.
        named = model.named_parameters()
        return [torch.optim.Adam([p for name, p in named if name.endswith("bias")], lr=1e-2)]
    dense = [p for name, p in model.named_parameters() if not name.endswith("s.weight")]
    embedded = [p for name, p in model.named_parameters() if name.endswith("s.weight")]
    if method == "sparse_adam":
        return [torch.optim.SparseAdam(embedded, lr=3e-2), torch.optim.Adam(dense, lr=1e-2)]
    if method == "sgd_sparse":
        return [torch.optim.SGD(embedded, lr=50.0), torch.optim.Adam(dense, lr=1e-2)]
    if method == "adagrad":
        return [torch.optim.Adagrad(model.parameters(), lr=0.1)]
    if method == "adam":
        return [torch.optim.Adam(model.parameters(), lr=1e-2)]
    return [torch.optim.SGD(model.parameters(), lr=4e3, momentum=0.9)]


def _train(
    seed: int,
    *,
    method: Method = "sparse_adam",
    handed: Handed = "all",
    std: float = 0.3,
    plain: bool = False,
    random_clicks: bool = False,
    batch_size: int = 64,
) -> Iterator[float]:
    """Clicks follow from two hidden factors of each user and item; few of the rows are active."""
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    model = _towers(sparse=method.startswith(("sparse", "sgd_sparse")), std=std, plain=plain)
    optimizers = _optimizers(model, method, handed)
    active = rng.choice(ROWS, (2, ACTIVE), replace=False)
    tastes = np.sign(rng.normal(size=(2, ACTIVE)))
    probe = rng.integers(0, ACTIVE, (2, 256))
    for _ in range(STEPS):
        rows = rng.integers(0, ACTIVE, (2, batch_size))
        liked = tastes[0, rows[0]] * tastes[1, rows[1]] > 0
        if random_clicks:
            liked = rng.random(batch_size) < 0.5
        users, items = torch.from_numpy(active[0, rows[0]]), torch.from_numpy(active[1, rows[1]])
        clicks = torch.tensor(liked, dtype=torch.float32)
        loss = functional.binary_cross_entropy_with_logits(model(users, items), clicks)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        if random_clicks:
            yield loss.item()
            continue
        with torch.no_grad():  # smoother than the loss of a small batch
            users, items = (torch.from_numpy(active[side, probe[side]]) for side in (0, 1))
            likes = torch.tensor(tastes[0, probe[0]] * tastes[1, probe[1]] > 0).float()
            yield functional.binary_cross_entropy_with_logits(model(users, items), likes).item()


_run = partial(Scenario, half="held", architecture="recommender", steps=STEPS, chance=math.log(2))

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="recommender_sparse",
        kind="healthy",
        train=_train,
        trap="sparse gradients of 20 000 rows, two optimizers",
    ),
    _run(
        name="recommender_adagrad",
        kind="healthy",
        train=partial(_train, method="adagrad"),
        trap="dense gradients that are 0 for more than 99 % of the rows",
    ),
    _run(
        name="recommender_dense_adam",
        kind="healthy",
        train=partial(_train, method="adam", plain=True),
        trap="dense gradients, most rows never used; nothing but embeddings",
    ),
    _run(
        name="recommender_batch_of_24",
        kind="healthy",
        train=partial(_train, batch_size=24),
        trap="noisy: few clicks in a batch",
    ),
    _run(
        name="recommender_random_clicks",
        kind="plateau",
        train=partial(_train, random_clicks=True),
        trap="clicks at random: the loss starts at its floor",
    ),
    _run(
        name="recommender_only_biases",
        kind="unchanged",
        train=partial(_train, handed="biases"),
        twin="recommender_sparse",
        trap="the optimizer was handed the biases only",
    ),
    _run(
        name="recommender_zero_init",
        kind="initialization",
        train=partial(_train, method="adam", plain=True, std=0.0),
        also=frozenset({"vanishing", "unchanged"}),
        twin="recommender_dense_adam",
        trap="both factors of the product are 0, and so is each gradient but the bias's",
    ),
    _run(
        name="recommender_sgd_lr_of_sum",
        kind="exploding",
        train=partial(_train, method="sgd"),
        also=frozenset({"non_finite", "dead"}),
        twin="recommender_adagrad",
        trap="a learning rate of thousands, as for gradients divided by the number of rows",
    ),
)

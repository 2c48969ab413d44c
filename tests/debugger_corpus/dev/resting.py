"""Losses that stay where they are by no fault of the gradients, and those that begin to fall late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import LN_10, Family, batches, digits, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 180


def _network(kind: str) -> nn.Module:
    from torch import nn

    if kind == "cnn":
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            *(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 16, 3, padding=1),
                nn.ReLU(),
            ),
            *(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 10)),
        )
    if kind == "normalised":
        return nn.Sequential(
            *(nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 64)),
            *(nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 10)),
        )
    act = nn.Tanh if kind == "tanh" else nn.ReLU
    return nn.Sequential(
        *(nn.Linear(64, 96), act(), nn.Linear(96, 96), act(), nn.Linear(96, 96), act()),
        nn.Linear(96, 10),
    )


def _classes(labels: str, classes: Tensor) -> Tensor:
    import torch

    if labels == "random":  # anew at each step: there is nothing to be learnt
        return torch.randint(10, classes.shape)
    if labels == "next":
        return classes.roll(1)
    return classes


def _classify(
    seed: int,
    *,
    kind: str = "relu",
    labels: str = "true",
    optimizer: str = "SGD",
    lr: float = 0.1,
    frozen: int = 0,
    warm: int = 0,
    trained: int = 0,
    size: int = 64,
    weight_decay: float = 0.0,
    head: float = 1.0,
) -> Iterator[float]:
    """Classify digits: of ``trained`` steps before nobody sees anything."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _network(kind)
    with torch.no_grad():
        list(model.parameters())[-2].mul_(head)
    rows = batches(generator, len(features), size)

    def loss_of(chosen: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            model(features[chosen]), _classes(labels, classes[chosen])
        )

    for _ in range(trained):  # by hand
        loss_of(next(rows)).backward()
        with torch.no_grad():
            for each in model.parameters():
                each.sub_(each.grad, alpha=0.1)  # type: ignore[arg-type]
                each.grad = None
    for each in list(model.parameters())[:frozen]:
        each.requires_grad_(False)
    made: Any = getattr(torch.optim, optimizer)
    chosen_optimizer = made(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        chosen_optimizer, lambda step: min(1.0, ((step + 1) / warm) ** 4) if warm else 1.0
    )
    for _ in range(STEPS):
        loss = loss_of(next(rows))
        chosen_optimizer.zero_grad()
        loss.backward()
        chosen_optimizer.step()
        schedule.step()
        yield loss.item()


def _hinge(seed: int, *, margin: float, lr: float) -> Iterator[float]:
    """Rank pairs that are in order already: the loss is zero, and so are all gradients."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = nn.Sequential(
        nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen = next(rows)
        scores = model(features[chosen])[:, 0]
        order = torch.sign((classes[chosen][:, None] - classes[chosen]).float())
        loss = torch.relu(margin - order * (scores[:, None] - scores)).mean() * (order != 0).any()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item() + 1e-3


def _waits(seed: int, *, until: int) -> Iterator[float]:
    """Rebuild pictures beside their classification, with a weight that is zero at first."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    head, other = nn.Linear(64, 10), nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    parameters = [*body.parameters(), *head.parameters(), *other.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    rows = batches(generator, len(features), 64)
    for step in range(STEPS):
        chosen = next(rows)
        found = body(features[chosen])
        loss = nn.functional.cross_entropy(head(found), classes[chosen])
        rebuilt = (other(found) - features[chosen]).square().mean()
        optimizer.zero_grad()
        (loss + (0.0 if step < until else 0.3) * rebuilt).backward()
        optimizer.step()
        yield loss.item()


RESTING = Family("mlp", _classify, STEPS, LN_10)
PICTURES = Family("cnn", _classify, STEPS, LN_10)
HINGE = Family("mlp", _hinge, STEPS)
WAITS = Family("mlp", _waits, STEPS, LN_10)

SCENARIOS: tuple[Scenario, ...] = (
    RESTING.plateau("rest_random", "labels without a meaning", labels="random", lr=0.05),
    RESTING.plateau(
        "rest_random_frozen", "the same behind frozen layers", labels="random", frozen=4
    ),
    PICTURES.plateau(
        "rest_cnn_random_frozen",
        "the same for pictures",
        kind="cnn",
        labels="random",
        frozen=4,
        lr=0.02,
    ),
    RESTING.plateau(
        "rest_random_adam", "the same with Adam", labels="random", optimizer="Adam", lr=3e-4
    ),
    RESTING.plateau(
        "rest_normalised_random",
        "the same with normalised layers",
        kind="normalised",
        labels="random",
        optimizer="AdamW",
        lr=1e-3,
        weight_decay=0.1,
    ),
    RESTING.plateau(
        "rest_tanh_random", "the same with tanh", kind="tanh", labels="random", lr=0.2
    ),
    RESTING.plateau(
        "rest_random_small_head", "a small last layer", labels="random", lr=0.02, head=0.01
    ),
    RESTING.plateau(
        "rest_normalised_small_head",
        "a small last layer, normalised",
        kind="normalised",
        labels="random",
        optimizer="AdamW",
        lr=3e-5,
        head=0.02,
    ),
    RESTING.plateau(
        "rest_cnn_no_head",
        "a last layer of zeros",
        kind="cnn",
        labels="random",
        optimizer="Adam",
        lr=1e-4,
        head=0.0,
    ),
    RESTING.plateau("rest_slow", "a learning rate that is far too small", lr=1e-4),
    RESTING.plateau("rest_slow_adam", "the same with Adam", optimizer="Adam", lr=1e-7),
    RESTING.plateau("rest_cnn_slow", "the same for pictures", kind="cnn", lr=3e-5),
    RESTING.plateau(
        "rest_normalised_slow",
        "the same, normalised",
        kind="normalised",
        optimizer="AdamW",
        lr=3e-7,
    ),
    RESTING.plateau(
        "rest_batch_of_eight", "noise of small batches", labels="random", size=8, lr=0.01
    ),
    RESTING.healthy(
        "rest_fine_tuned",
        "trained before, a small learning rate",
        learns=False,
        trained=400,
        lr=1e-4,
    ),
    RESTING.healthy(
        "rest_fine_tuned_adam",
        "the same with Adam",
        learns=False,
        trained=400,
        optimizer="AdamW",
        lr=1e-6,
    ),
    RESTING.healthy(
        "rest_warm_up", "a learning rate that grows from next to nothing", warm=150, lr=0.3
    ),
    RESTING.healthy(
        "rest_warm_up_adam", "the same with Adam", warm=120, optimizer="Adam", lr=2e-3
    ),
    PICTURES.healthy(
        "rest_cnn_warm_up",
        "the same for pictures",
        kind="cnn",
        warm=120,
        optimizer="Adam",
        lr=5e-3,
    ),
    HINGE.healthy(
        "rest_hinge_in_order",
        "a margin of zero: no gradient at all",
        learns=False,
        margin=-9.0,
        lr=0.1,
    ),
    WAITS.healthy("rest_branch_waits", "a branch whose weight is zero at first", until=60),
)

"""Bag-of-embeddings text classifier over a large vocabulary, with sparse and dense gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, ramp, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor

STEPS = 150
WORDS = 20_000
TOPICS = 5


def _texts(
    generator: numpy.random.Generator, size: int, words: int, random: bool
) -> tuple[Tensor, Tensor]:
    """Draw texts of 20 words: frequent words tell the topic, rare ones are noise."""
    import numpy
    import torch

    topics = generator.integers(0, TOPICS, size)
    common = 1 + topics[:, None] * 30 + generator.integers(0, 30, (size, 20))
    rare = generator.integers(1, words, (size, 20))
    texts = numpy.where(generator.random((size, 20)) < 0.4, common, rare)
    if random:
        topics = generator.integers(0, TOPICS, size)
    return torch.tensor(texts), torch.tensor(topics)


def _train(
    seed: int,
    *,
    words: int = 2_000,
    sparse: bool = False,
    mean_by_hand: bool = False,
    optimizer: str = "Adam",
    lr: float = 0.02,
    schedule: Callable[[int], float] = constant,
    start: float | None = None,
    random: bool = False,
    empty_at: int = -1,
    pretrained: str = "",
    scale: float = 1.0,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    bag: nn.EmbeddingBag = nn.EmbeddingBag(words, 16, sparse=sparse, padding_idx=0)
    head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, TOPICS))
    with torch.no_grad():
        if start is not None:
            for parameter in (*bag.parameters(), *head.parameters()):
                parameter.fill_(start)
    chosen = [getattr(torch.optim, optimizer)([*bag.parameters(), *head.parameters()], lr=lr)]
    if sparse and optimizer == "Adam":
        chosen = [
            torch.optim.SparseAdam(list(bag.parameters()), lr=lr),
            torch.optim.Adam(head.parameters(), lr=lr),
        ]
    if pretrained == "too late":
        # Both parts come from elsewhere, after the optimizer was told what to train.
        bag = nn.EmbeddingBag(words, 16, padding_idx=0)
        head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, TOPICS))
    schedulers = [torch.optim.lr_scheduler.LambdaLR(one, schedule) for one in chosen]
    for step in range(STEPS):
        texts, topics = _texts(generator, 48, words, random)
        if step == empty_at:
            texts[11] = 0  # A text of padding only.
        if mean_by_hand:
            known = (texts != 0).float()[:, :, None]
            meaning = (nn.functional.embedding(texts, bag.weight) * known).sum(1) / known.sum(1)
        else:
            meaning = bag(texts)
        loss = nn.functional.cross_entropy(head(meaning), topics)
        for one in chosen:
            one.zero_grad()
        (scale * loss).backward()
        for one, scheduler in zip(chosen, schedulers, strict=True):
            one.step()
            scheduler.step()
        yield loss.item()


EMBEDDING = Family("embedding", _train, STEPS, math.log(TOPICS))
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 5.0}

SCENARIOS: tuple[Scenario, ...] = (
    EMBEDDING.healthy("embedding_dense"),
    EMBEDDING.healthy("embedding_20k", "most rows have gradient 0", words=WORDS),
    EMBEDDING.healthy(
        "embedding_sparse", "sparse gradients, two optimizers", words=WORDS, sparse=True
    ),
    EMBEDDING.healthy(
        "embedding_adagrad", "most rows have gradient 0", words=WORDS, optimizer="Adagrad", lr=0.1
    ),
    EMBEDDING.healthy("embedding_sgd", "small gradients, large lr", **_SGD),
    EMBEDDING.healthy(
        "embedding_sparse_sgd", "sparse gradients", words=WORDS, sparse=True, **_SGD
    ),
    EMBEDDING.healthy("embedding_mean_by_hand", mean_by_hand=True),
    EMBEDDING.plateau("embedding_random_topics", "nothing to learn", random=True, lr=1e-3),
    EMBEDDING.ill(
        "embedding_empty_text",
        "non_finite",
        "embedding_mean_by_hand",
        onset=90,
        trap="0 / 0",
        mean_by_hand=True,
        empty_at=90,
    ),
    EMBEDDING.ill("embedding_too_late", "unchanged", "embedding_dense", pretrained="too late"),
    EMBEDDING.ill(
        "embedding_zero_start",
        "initialization",
        "embedding_dense",
        "vanishing",
        "unchanged",
        "dead",
        start=0.0,
    ),
    EMBEDDING.ill(
        "embedding_constant_start",
        "initialization",
        "embedding_sgd",
        "dead",
        "vanishing",
        start=0.1,
        trap="all units alike",
        **_SGD,
    ),
    EMBEDDING.ill(
        "embedding_lr_high",
        "exploding",
        "embedding_sparse_sgd",
        "non_finite",
        words=WORDS,
        sparse=True,
        optimizer="SGD",
        lr=3000.0,
    ),
    EMBEDDING.ill(
        "embedding_lr_ramp",
        "exploding",
        "embedding_sgd",
        "non_finite",
        onset=70,
        schedule=ramp(70, 1.2),
        **_SGD,
    ),
    EMBEDDING.ill("embedding_lr_tiny", "unchanged", "embedding_sgd", optimizer="SGD", lr=1e-6),
)

"""Vector-quantised autoencoder: each picture is told by a few entries of a learnt codebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, batches, constant, digits, raised, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 200
PARTS, CODES, SIZE = 8, 32, 6


def _model(*, activation: str, gain: float, book: float, bias: float) -> nn.Module:
    import torch
    from torch import nn

    class Quantiser(nn.Module):
        """Takes the nearest entry; encoder and decoder are joined by a straight passage."""

        def __init__(self) -> None:
            super().__init__()
            self.book = nn.Embedding(CODES, SIZE)
            nn.init.normal_(self.book.weight, std=book)

        def forward(self, found: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            gaps = torch.cdist(found.detach(), self.book.weight.detach())
            choice = gaps.argmin(-1)
            entries = self.book(choice)
            follow = (entries - found.detach()).square().mean()
            commit = (found - entries.detach()).square().mean()
            return found + (entries - found).detach(), follow, commit

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            unit = getattr(nn, activation)
            self.encoder = nn.Sequential(nn.Linear(64, 64), unit(), nn.Linear(64, PARTS * SIZE))
            self.quantiser = Quantiser()
            self.decoder = nn.Sequential(nn.Linear(PARTS * SIZE, 64), unit(), nn.Linear(64, 64))
            with torch.no_grad():
                for part in (self.encoder, self.decoder):
                    first: Any = part[0]
                    first.weight.mul_(gain)
                    first.bias.add_(bias)

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            found = self.encoder(images).unflatten(1, (PARTS, SIZE))
            entries, follow, commit = self.quantiser(found)
            return self.decoder(entries.flatten(1)), follow, commit

    return Whole()


def _train(
    seed: int,
    *,
    activation: str = "ReLU",
    gain: float = 1.0,
    book: float = 0.3,
    bias: float = 0.0,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    commitment: float = 0.25,
    scale: float = 1.0,
    spreading: str = "",
    summed: bool = False,
    clip: float = 0.0,
    book_only: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    images, _ = digits()
    images = images - images.mean(0)  # A model that learnt nothing draws the mean.
    model: Any = _model(activation=activation, gain=gain, book=book, bias=bias)
    trained = model.quantiser if book_only else model
    chosen = getattr(torch.optim, optimizer)(trained.parameters(), **(settings or {"lr": 4e-3}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for _, part in zip(range(STEPS), batches(generator, len(images), 100), strict=False):
        drawn, follow, commit = model(images[part])
        error = (drawn - images[part]).square()
        loss = (error.sum() if summed else error.mean()) + follow + commitment * commit
        if spreading:
            # Encourages even use by the length of the book's entries, of which one may be 0.
            lengths = model.quantiser.book.weight.norm(dim=1, keepdim=True)
            even = model.quantiser.book.weight / (lengths + (1e-3 if spreading == "safe" else 0))
            loss = loss + 1e-3 * even.mean(0).square().sum()
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield error.mean().item()


def _averaged(
    seed: int, *, decay: float = 0.9, smooth: float = 1e-2, idle: bool = False
) -> Iterator[float]:
    """Move the book by running means of what it stands for, not by gradients."""
    import torch

    generator = seeded(seed)
    images, _ = digits()
    images = images - images.mean(0)
    model: Any = _model(activation="ReLU", gain=1.0, book=0.3, bias=0.0)
    quantiser = model.quantiser
    book = quantiser.book.requires_grad_(False).weight
    # What no picture chose has a count of 0.
    counts, sums = torch.full((CODES, 1), float(not idle)), book.clone() * float(not idle)
    others = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.AdamW(others, lr=4e-3)
    for _, part in zip(range(STEPS), batches(generator, len(images), 100), strict=False):
        found = model.encoder(images[part]).unflatten(1, (PARTS, SIZE))
        choice = torch.cdist(found.detach(), book).argmin(-1)
        entries = found + (book[choice] - found).detach()
        error = (model.decoder(entries.flatten(1)) - images[part]).square().mean()
        commit = (found - book[choice]).square().mean()
        optimizer.zero_grad()
        (error + 0.25 * commit).backward()
        optimizer.step()
        used = torch.nn.functional.one_hot(choice.flatten(), CODES).float()
        counts.lerp_(used.sum(0)[:, None], 1 - decay)
        sums.lerp_(used.T @ found.detach().flatten(0, 1), 1 - decay)
        book.copy_(sums / (counts + smooth))
        yield error.item()


VQ = Family("vq", _train, STEPS, 0.47)
"""Against the error of the mean picture."""
AVERAGED = Family("vq", _averaged, STEPS, 0.47)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 2.0, "momentum": 0.9}}
_TANH: dict[str, Any] = {
    "activation": "Tanh",
    "optimizer": "SGD",
    "settings": {"lr": 0.7, "momentum": 0.9},
}

SCENARIOS: tuple[Scenario, ...] = (
    VQ.healthy("vq_adam", "entries that nobody chooses get gradients of 0"),
    VQ.healthy("vq_sgd", **_SGD),
    VQ.healthy("vq_tanh", **_TANH),
    VQ.healthy("vq_safe_lengths", spreading="safe"),
    VQ.healthy("vq_clipped", "always clipped", clip=0.05, **_SGD),
    AVERAGED.healthy("vq_averaged", "book moves without gradients"),
    AVERAGED.ill(
        "vq_idle_entries",
        "non_finite",
        "vq_averaged",
        trap="means of nothing: 0 / 0 for entries that nobody chose",
        smooth=0.0,
        idle=True,
    ),
    VQ.ill(
        "vq_far_book",
        "exploding",
        "vq_sgd",
        "initialization",
        "non_finite",
        trap="entries far from all that the encoder finds",
        book=40.0,
        **_SGD,
    ),
    VQ.ill("vq_only_book", "unchanged", "vq_adam", book_only=True),
    VQ.ill(
        "vq_saturated",
        "saturated",
        "vq_tanh",
        "initialization",
        "vanishing",
        bias=5.0,
        **_TANH,
    ),
    VQ.ill("vq_dead", "dead", "vq_sgd", "initialization", "vanishing", bias=-8.0, **_SGD),
    VQ.ill("vq_summed_loss", "exploding", "vq_sgd", "dead", "non_finite", summed=True, **_SGD),
    VQ.ill(
        "vq_lr_raised",
        "exploding",
        "vq_clipped",
        "dead",
        onset=110,
        schedule=raised(110, 300.0),
        clip=0.05,
        **_SGD,
    ),
    VQ.ill("vq_tiny_loss", "vanishing", "vq_tanh", "unchanged", scale=1e-8, **_TANH),
)

"""Token tagger with linear attention: a kernel of queries and keys instead of a softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, climb, constant, seeded, warm_up
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 140
TOKENS, TAGS, LENGTH = 16, 4, 18


def _sentences(generator: numpy.random.Generator, size: int, length: int) -> tuple[Tensor, Tensor]:
    """Tag a token by itself and by whether a marker is anywhere in its sentence."""
    import torch

    tokens = generator.integers(2, TOKENS, (size, length))
    marked = generator.random(size) < 0.5
    tokens[marked, generator.integers(0, length, size)[marked]] = 1
    tags = (tokens % TAGS + 2 * marked[:, None]) % TAGS
    return torch.from_numpy(tokens), torch.from_numpy(tags)


def _kernel(name: str) -> Callable[[Tensor], Tensor]:
    from torch import nn

    if name == "exp":
        return lambda x: (x - x.square().mean(-1, keepdim=True)).exp()
    if name == "bare_exp":
        return lambda x: x.exp()
    if name == "relu":
        return nn.functional.relu
    return lambda x: nn.functional.elu(x) + 1


def _model(
    *,
    layers: int,
    width: int,
    kernel: str,
    norm: str,
    divided: bool,
    floor: float,
    keys: float,
    gain: float,
) -> nn.Module:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.wide = nn.Sequential(
                nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )
            self.before = nn.LayerNorm(width) if norm != "none" else nn.Identity()
            self.between = nn.LayerNorm(width) if norm != "none" else nn.Identity()
            with torch.no_grad():
                for linear in (self.mix, self.out, self.wide[0], self.wide[2]):
                    linear.weight.mul_(gain)  # type: ignore[operator]
                self.mix.bias[width : 2 * width] += keys

        def attend(self, x: Tensor, shown: Tensor) -> Tensor:
            queries, found, values = self.mix(x).chunk(3, -1)
            queries, found = _kernel(kernel)(queries), _kernel(kernel)(found) * shown
            answer = queries @ (found.transpose(1, 2) @ values)
            if divided:
                answer = answer / (queries @ found.sum(1)[:, :, None] + floor)
            mixed: Tensor = self.out(answer)
            return mixed

        def forward(self, x: Tensor, shown: Tensor) -> Tensor:
            if norm == "none":
                return self.wide(self.attend(x, shown))  # type: ignore[no-any-return]
            x = x + self.attend(self.before(x), shown)
            y: Tensor = x + self.wide(self.between(x))
            return y

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(TOKENS, width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.head = nn.Linear(width, TAGS)

        def forward(self, tokens: Tensor) -> Tensor:
            x, shown = self.embedding(tokens), (tokens > 0)[:, :, None].float()
            for block in self.blocks:
                x = block(x, shown)
            tags: Tensor = self.head(x)
            return tags

    return Tagger()


def _train(
    seed: int,
    *,
    optimizer: str = "AdamW",
    lr: float = 3e-3,
    momentum: float | None = None,
    schedule: Callable[[int], float] = constant,
    batch: int = 16,
    scale: float = 1.0,
    clip: float = 0.0,
    blank_at: int = -1,
    bf16: bool = False,
    zero_out: bool = False,
    **build: Any,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    plain = {"layers": 2, "width": 32, "kernel": "elu", "norm": "before", "divided": True}
    rest = {"floor": 1e-6, "keys": 0.0, "gain": 1.0}
    model = _model(**(plain | rest | build))  # type: ignore[arg-type]
    if zero_out:
        for name, parameter in model.named_parameters():
            if ".out." in name:
                nn.init.zeros_(parameter)
    settings = {"lr": lr} | ({} if momentum is None else {"momentum": momentum})
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **settings)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step in range(STEPS):
        tokens, tags = _sentences(generator, batch, LENGTH)
        hidden = torch.from_numpy(generator.random(tags.shape) < 0.2)
        if step == blank_at:
            tokens[3] = 0  # A sentence of nothing but padding.
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(tokens)
        loss = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), tags.masked_fill(hidden, -100).flatten()
        )
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


TAGGER = Family("performer", _train, STEPS, math.log(TAGS))
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.1, "momentum": 0.9}
_ADAGRAD: dict[str, Any] = {"optimizer": "Adagrad", "lr": 0.03}

SCENARIOS: tuple[Scenario, ...] = (
    TAGGER.healthy("performer_adamw", "a fifth of the tags is ignored"),
    TAGGER.healthy("performer_exp", kernel="exp", optimizer="Adamax", lr=1e-2),
    TAGGER.healthy("performer_zero_out", "attention adds 0 at first", zero_out=True),
    TAGGER.healthy("performer_deep", layers=8, width=16, schedule=warm_up(30), batch=8),
    TAGGER.healthy("performer_sgd", **_SGD),
    TAGGER.healthy("performer_adagrad", "sums of squares only grow", **_ADAGRAD),
    TAGGER.healthy("performer_bf16", "autocast", bf16=True, kernel="relu", floor=1e-2),
    TAGGER.healthy("performer_clipped", "always clipped", clip=0.2, **_SGD),
    TAGGER.healthy("performer_padding", "a sentence of padding", blank_at=70),
    TAGGER.ill(
        "performer_padding_only",
        "non_finite",
        "performer_padding",
        onset=70,
        trap="0 / 0: a sentence of padding, and nothing is added below the line",
        blank_at=70,
        floor=0.0,
    ),
    TAGGER.ill(
        "performer_dead_kernel",
        "non_finite",
        "performer_bf16",
        "dead",
        "initialization",
        trap="ReLU as kernel: no key is above 0, and nothing is added below the line",
        kernel="relu",
        floor=0.0,
        keys=-9.0,
    ),
    TAGGER.ill(
        "performer_exp_overflow",
        "non_finite",
        "performer_exp",
        "exploding",
        "initialization",
        kernel="bare_exp",
        keys=90.0,
        optimizer="Adamax",
        lr=1e-2,
    ),
    TAGGER.ill(
        "performer_no_residual",
        "vanishing",
        "performer_sgd",
        "initialization",
        norm="none",
        layers=6,
        gain=0.3,
        **_SGD,
    ),
    TAGGER.ill(
        "performer_tiny_loss",
        "vanishing",
        "performer_sgd",
        "unchanged",
        trap="mean over all tokens of an epoch instead of the batch's",
        scale=1e-6,
        **_SGD,
    ),
    TAGGER.ill(
        "performer_not_divided",
        "exploding",
        "performer_sgd",
        "initialization",
        "dead",
        "vanishing",
        trap="no norm, and sums over the sentence instead of means",
        divided=False,
        norm="none",
        gain=1.6,
        clip=1.0,
        **_SGD,
    ),
    TAGGER.ill(
        "performer_lr_climbs",
        "exploding",
        "performer_clipped",
        "saturated",
        onset=80,
        trap="always clipped",
        schedule=climb(80, 1.3, 2e3),
        clip=0.2,
        **_SGD,
    ),
    TAGGER.ill("performer_adamw_tiny_lr", "unchanged", "performer_adamw", lr=1e-9),
)

"""Decoder-only transformers, dense and with experts, on a generated language."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 150
WORDS = 16
WIDTH = 32
LENGTH = 24


def _text(rng: np.random.Generator, count: int, rules: Any) -> torch.Tensor:
    """Each word is followed by one of two; all words are equally frequent."""
    import torch

    words = np.empty((count, LENGTH + 1), dtype=np.int64)
    words[:, 0] = rng.integers(0, WORDS, count)
    for place in range(LENGTH):
        choice = (rng.random(count) < 0.2).astype(int)
        words[:, place + 1] = rules[choice, words[:, place]]
    return torch.from_numpy(words)


def _feed_forward(experts: int) -> nn.Module:
    """Return the usual two layers, or several pairs of them behind a router."""
    import torch
    from torch import nn

    def one() -> nn.Module:
        return nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))

    class Experts(nn.Module):
        """Each position goes to the one expert that the router likes best."""

        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(WIDTH, experts)
            # One expert is chosen by next to nothing.
            nn.init.constant_(self.router.bias, 0.0)
            self.router.bias.data[-1] = -4.0
            self.experts = nn.ModuleList(one() for _ in range(experts))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weights = self.router(x).softmax(-1)
            best, chosen = weights.max(-1)
            y = torch.zeros_like(x)
            for index, expert in enumerate(self.experts):
                rows = chosen == index
                if rows.any():
                    y[rows] = best[rows][:, None] * expert(x[rows])
            return y

    return Experts() if experts else one()


def _block(*, experts: int, plain: bool) -> nn.Module:
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.Identity() if plain else nn.LayerNorm(WIDTH)
            self.norm2 = nn.Identity() if plain else nn.LayerNorm(WIDTH)
            self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
            self.project = nn.Linear(WIDTH, WIDTH)
            self.feed = _feed_forward(experts)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heads = self.qkv(self.norm1(x)).unflatten(-1, (3, 2, WIDTH // 2)).transpose(1, 3)
            q, k, v = heads.unbind(2)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            mixed = self.project(mixed.transpose(1, 2).flatten(2))
            x = mixed if plain else x + mixed
            fed = self.feed(self.norm2(x))
            return fed if plain else x + fed  # type: ignore[no-any-return]

    return Block()


def _gpt(
    *, depth: int = 2, experts: int = 0, plain: bool = False, constant: float | None = None
) -> nn.Module:
    """Build the model; ``plain`` leaves shortcuts and norms out, ``constant`` sets all weights."""
    from torch import nn

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS, WIDTH)
            self.places = nn.Embedding(LENGTH, WIDTH)
            self.blocks = nn.Sequential(
                *(_block(experts=experts, plain=plain) for _ in range(depth))
            )
            self.norm = nn.Identity() if plain else nn.LayerNorm(WIDTH)
            self.head = nn.Linear(WIDTH, WORDS, bias=False)
            nn.init.normal_(self.words.weight, std=0.1)
            nn.init.normal_(self.places.weight, std=0.1)
            if not plain:
                self.head.weight = self.words.weight  # tied
            if constant is not None:
                for parameter in self.parameters():
                    nn.init.constant_(parameter, constant)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            x = self.words(words) + self.places.weight
            return self.head(self.norm(self.blocks(x)))  # type: ignore[no-any-return]

    return Gpt()


def _optimizer(model: nn.Module, lr: float, fused: bool, moment: float) -> torch.optim.Optimizer:
    """Weight decay for matrices only."""
    import torch

    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, moment), fused=fused)


def _train(
    seed: int,
    *,
    precision: Literal["float", "bf16", "fp16", "half"] = "float",
    fused: bool = False,
    clip: float | None = 1.0,
    lr: float = 4e-3,
    warmup: int = 20,
    ramp_from: int | None = None,
    shuffled: bool = False,
    **model_options: Any,
) -> Iterator[float]:
    import torch
    from torch.nn import functional, utils

    rng = _tools.seeded(seed)
    rules = np.stack([rng.permutation(WORDS), rng.permutation(WORDS)])
    model = _gpt(**model_options)
    if precision == "half":
        model = model.half()  # weights and Adam's moments, too
    optimizer = _optimizer(model, lr, fused, 0.98)
    # Starts much too high, so that the first steps overflow and are left out.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, enabled=precision == "fp16")
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    casting: contextlib.AbstractContextManager[Any]
    for step in range(STEPS):
        for group in optimizer.param_groups:
            cosine = 0.5 + 0.5 * math.cos(math.pi * step / STEPS)
            group["lr"] = lr * min(1.0, step / warmup) * cosine
            if ramp_from is not None and step >= ramp_from:
                group["lr"] = lr * 2.0 ** (step - ramp_from)
        text = _text(rng, 16, rules)
        if shuffled:
            text = torch.from_numpy(rng.permuted(text.numpy().ravel()).reshape(text.shape))
        casting = contextlib.nullcontext()
        if precision in kinds:
            casting = torch.autocast("cpu", kinds[precision])
        with casting:
            logits = model(text[:, :-1])
        loss = functional.cross_entropy(logits.float().flatten(0, 1), text[:, 1:].flatten())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        if clip is not None:
            utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
        yield loss.item()


_run = partial(Scenario, half="held", architecture="gpt", steps=STEPS, chance=math.log(WORDS))

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="gpt_adamw",
        kind="healthy",
        train=_train,
        trap="tied weights, two groups, warm-up from 0, cosine to 0, gradient clipping",
    ),
    _run(
        name="gpt_bf16",
        kind="healthy",
        train=partial(_train, precision="bf16"),
        trap="bf16 autocast",
    ),
    _run(
        name="gpt_fp16_scaler",
        kind="healthy",
        train=partial(_train, precision="fp16"),
        trap="GradScaler: the first gradients are infinite, their steps are skipped",
    ),
    _run(
        name="gpt_fp16_scaler_fused",
        kind="healthy",
        train=partial(_train, precision="fp16", fused=True),
        trap="GradScaler with a fused optimizer, which is called even where it skips",
    ),
    _run(
        name="gpt_experts",
        kind="healthy",
        train=partial(_train, experts=4),
        trap="a rare expert: no gradient at all in most steps",
    ),
    _run(
        name="gpt_deep",
        kind="healthy",
        train=partial(_train, depth=6),
        trap="six blocks",
    ),
    _run(
        name="gpt_shuffled_words",
        kind="plateau",
        train=partial(_train, shuffled=True),
        trap="words in random order: the loss starts at its floor",
    ),
    _run(
        name="gpt_no_shortcuts",
        kind="vanishing",
        train=partial(_train, depth=6, plain=True, clip=None),
        twin="gpt_deep",
    ),
    _run(
        name="gpt_constant_init",
        kind="initialization",
        train=partial(_train, constant=0.02),
        also=frozenset({"vanishing", "unchanged"}),
        twin="gpt_adamw",
        trap="all weights alike: after LayerNorm nothing is left",
    ),
    _run(
        name="gpt_half_weights",
        kind="non_finite",
        train=partial(_train, precision="half", clip=None),
        twin="gpt_adamw",
        trap="pure fp16: Adam's epsilon is 0 there, and 0 / 0 is NaN",
    ),
    _run(
        name="gpt_lr_ramp",
        kind="exploding",
        train=partial(_train, ramp_from=110),
        onset=110,
        twin="gpt_adamw",
        also=frozenset({"non_finite"}),
        trap="clipped, and Adam: the gradient's norm says nothing",
    ),
)

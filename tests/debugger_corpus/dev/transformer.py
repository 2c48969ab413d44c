"""Small transformer encoder that classifies digits; the rows of a picture are its tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    constant,
    digits,
    ramp,
    seeded,
    warm_up,
)
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 140
WIDTH = 24


def _attention() -> nn.Module:
    """Build one head; the bias of its keys cancels in the softmax, so its gradient is 0."""
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value, self.out = (
                nn.Linear(WIDTH, WIDTH) for _ in range(4)
            )

        def forward(self, tokens: Tensor, hidden: Tensor | None) -> Tensor:
            scores = self.query(tokens) @ self.key(tokens).transpose(1, 2) / math.sqrt(WIDTH)
            if hidden is not None:
                scores = scores.masked_fill(hidden[:, None, :], -math.inf)
            y: Tensor = self.out(scores.softmax(-1) @ self.value(tokens))
            return y

    return Attention()


def _model(
    *,
    blocks: int,
    residual: bool,
    norm: bool,
    post_norm: bool,
    dropout: float,
    gain: float,
    reads_first: bool,
    zeros: tuple[str, ...],
) -> nn.Module:
    """Build an encoder; ``zeros`` are parts of its blocks whose weights and biases are zero."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = _attention()
            self.norms = nn.ModuleList(
                nn.LayerNorm(WIDTH) if norm else nn.Identity() for _ in range(2)
            )
            self.perceptron = nn.Sequential(
                nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
            )
            self.dropout = nn.Dropout(dropout)

        def forward(self, tokens: Tensor, hidden: Tensor | None) -> Tensor:
            attend = partial(self.attention, hidden=hidden)
            tokens = self._changed(tokens, self.norms[0], attend)
            return self._changed(tokens, self.norms[1], self.perceptron)

        def _changed(self, tokens: Tensor, norm: Any, part: Any) -> Tensor:
            change: Tensor = self.dropout(part(tokens if post_norm else norm(tokens)))
            changed = tokens + change if residual else change
            result: Tensor = norm(changed) if post_norm else changed
            return result

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(8, WIDTH)
            self.position = nn.Parameter(0.1 * torch.randn(8, WIDTH))
            self.blocks = nn.ModuleList(Block() for _ in range(blocks))
            self.norm = nn.LayerNorm(WIDTH) if norm else nn.Identity()
            self.head = nn.Linear(WIDTH, 10)

        def forward(self, rows: Tensor, hidden: Tensor | None) -> Tensor:
            tokens = self.embed(rows) + self.position
            for block in self.blocks:
                tokens = block(tokens, hidden)
            tokens = self.norm(tokens)
            logits: Tensor = self.head(tokens[:, 0] if reads_first else tokens.mean(1))
            return logits

    model = Encoder()
    with torch.no_grad():
        for name, parameter in model.blocks.named_parameters():
            if name.endswith("weight") and "norm" not in name:
                parameter.mul_(gain)
            if any(part in name for part in zeros):
                parameter.zero_()
    return model


def _train(
    seed: int,
    *,
    blocks: int = 2,
    residual: bool = True,
    norm: bool = True,
    post_norm: bool = False,
    dropout: float = 0.0,
    gain: float = 1.0,
    reads_first: bool = False,
    zeros: tuple[str, ...] = (),
    smoothing: float = 0.0,
    optimizer: str = "AdamW",
    lr: float = 3e-3,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    parts: int = 1,
    precision: str = "",
    masked: bool = False,
    all_masked_at: int = -1,
    replaced: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    images = features.reshape(-1, 8, 8)
    if reads_first:
        images[:, 0] = 0.0  # The answer is read here: it must come from the other tokens.
    build = partial(
        _model,
        blocks=blocks,
        residual=residual,
        norm=norm,
        post_norm=post_norm,
        dropout=dropout,
        gain=gain,
        reads_first=reads_first,
        zeros=zeros,
    )
    model = build()
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
    if replaced:
        model = build()  # "Start afresh", but the optimizer has the parameters of the old one.
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(images), 32)
    criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    for step in range(STEPS):
        chosen.zero_grad()
        total = 0.0
        for _part in range(parts):
            chosen_rows = next(rows)
            hidden = torch.zeros(32, 8, dtype=torch.bool) if masked else None
            if hidden is not None:
                hidden[:, 0] = True
                hidden[9] = hidden[9] | (step == all_masked_at)
            with torch.autocast("cpu", dtype=dtype, enabled=bool(precision)):
                logits = model(images[chosen_rows], hidden)
            loss = criterion(logits.float(), classes[chosen_rows]) / parts
            loss.backward()
            total += loss.item()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield total


_BARE: dict[str, Any] = {"residual": False, "norm": False}
TRANSFORMER = Family("transformer", _train, STEPS, LN_10)

SCENARIOS: tuple[Scenario, ...] = (
    TRANSFORMER.healthy("transformer_plain", "bias of keys has gradient 0"),
    TRANSFORMER.healthy(
        "transformer_warm_up", "lr 0 at first, clipped", schedule=warm_up(40), clip=0.5, lr=5e-3
    ),
    TRANSFORMER.healthy("transformer_dropout", dropout=0.1, smoothing=0.1),
    TRANSFORMER.healthy("transformer_deep", "8 blocks", blocks=8, lr=1e-3),
    TRANSFORMER.healthy("transformer_bf16", "autocast", precision="bf16"),
    TRANSFORMER.healthy("transformer_accumulation", "3 backward passes a step", parts=3),
    TRANSFORMER.healthy("transformer_masked", "a token is always hidden", masked=True),
    TRANSFORMER.healthy("transformer_sgd", optimizer="SGD", lr=0.2),
    TRANSFORMER.healthy("transformer_sgd_6", blocks=6, optimizer="SGD", lr=0.2),
    TRANSFORMER.ill(
        "transformer_bare",
        "vanishing",
        "transformer_sgd_6",
        blocks=6,
        optimizer="SGD",
        lr=0.2,
        **_BARE,
    ),
    TRANSFORMER.healthy("transformer_12", "12 blocks", blocks=12, lr=1e-3),
    TRANSFORMER.ill(
        "transformer_bare_12",
        "vanishing",
        "transformer_12",
        trap="AdamW makes tiny gradients large again",
        blocks=12,
        lr=1e-3,
        **_BARE,
    ),
    TRANSFORMER.healthy(
        "transformer_post_norm", "norms after the sums", blocks=8, lr=1e-3, post_norm=True
    ),
    TRANSFORMER.ill(
        "transformer_post_norm_small",
        "vanishing",
        "transformer_post_norm",
        "initialization",
        blocks=8,
        lr=1e-3,
        post_norm=True,
        residual=False,
        gain=0.01,
    ),
    TRANSFORMER.healthy("transformer_sgd_8", blocks=8, optimizer="SGD", lr=0.2),
    TRANSFORMER.ill(
        "transformer_no_residual",
        "vanishing",
        "transformer_sgd_8",
        blocks=8,
        optimizer="SGD",
        lr=0.2,
        residual=False,
    ),
    TRANSFORMER.ill(
        "transformer_lr_1",
        "exploding",
        "transformer_plain",
        lr=10.0,
        trap="Adam: loss grows, norms do not",
    ),
    TRANSFORMER.ill(
        "transformer_large_init_no_norm",
        "exploding",
        "transformer_sgd",
        "initialization",
        "non_finite",
        norm=False,
        gain=12.0,
        optimizer="SGD",
        lr=0.2,
    ),
    TRANSFORMER.ill(
        "transformer_lr_ramp",
        "exploding",
        "transformer_sgd",
        "non_finite",
        onset=70,
        optimizer="SGD",
        lr=0.2,
        schedule=ramp(70, 1.12),
    ),
    TRANSFORMER.ill(
        "transformer_all_masked",
        "non_finite",
        "transformer_masked",
        onset=100,
        trap="softmax of -inf only",
        masked=True,
        all_masked_at=100,
    ),
    TRANSFORMER.ill(
        "transformer_fp16",
        "non_finite",
        "transformer_bf16",
        "initialization",
        precision="fp16",
        gain=600.0,
    ),
    TRANSFORMER.ill("transformer_replaced", "unchanged", "transformer_plain", replaced=True),
    TRANSFORMER.ill(
        "transformer_lr_0", "unchanged", "transformer_plain", schedule=lambda step: 0.0
    ),
)

"""A tiny vision transformer: from scratch, and adapted in several ways."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 170
WIDTH = 32
Tuning = Literal["all", "lora", "head", "late", "all_but_head"]


def _vit(
    *, depth: int, norm: bool, lora: bool, zero_head: bool, dropout: float, spare: bool
) -> nn.Module:
    import torch
    from torch import nn

    class Adapted(nn.Linear):
        """A linear layer with a low-rank addition that starts at zero."""

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.lora_a = nn.Parameter(torch.randn(4, inputs) / inputs**0.5)
            self.lora_b = nn.Parameter(torch.zeros(outputs, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 2.0 * (x @ self.lora_a.T) @ self.lora_b.T

    linear = Adapted if lora else nn.Linear

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(WIDTH) if norm else nn.Identity()
            self.norm2 = nn.LayerNorm(WIDTH) if norm else nn.Identity()
            # Apart, so that the bias of the keys, which attention ignores, is its own tensor.
            self.query, self.key, self.value, self.out = (linear(WIDTH, WIDTH) for _ in range(4))
            self.feed = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))
            self.drop = nn.Dropout(dropout)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm1(x)
            q, k, v = (
                layer(y).unflatten(-1, (4, WIDTH // 4)).transpose(1, 2)
                for layer in (self.query, self.key, self.value)
            )
            weights = (q @ k.transpose(2, 3) / (WIDTH // 4) ** 0.5).softmax(-1)
            x = x + self.drop(self.out((weights @ v).transpose(1, 2).flatten(2)))
            return x + self.drop(self.feed(self.norm2(x)))  # type: ignore[no-any-return]

    class Vit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(1, WIDTH, 2, stride=2)
            self.places = nn.Parameter(0.02 * torch.randn(17, WIDTH))
            self.token = nn.Parameter(torch.zeros(WIDTH))
            if spare:  # for a kind of pre-training that this script does not do
                self.mask_token = nn.Parameter(torch.zeros(WIDTH))
                self.decoder = nn.Linear(WIDTH, 4)
            self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
            self.norm = nn.LayerNorm(WIDTH) if norm else nn.Identity()
            self.head = nn.Linear(WIDTH, 10)
            if zero_head:
                nn.init.zeros_(self.head.weight)
                nn.init.zeros_(self.head.bias)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = self.patches(images).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(len(x), 1, WIDTH), x], 1) + self.places
            return self.head(self.norm(self.blocks(x)).mean(1))  # type: ignore[no-any-return]

    return Vit()


def _train(
    seed: int,
    *,
    tuning: Tuning = "all",
    depth: int = 2,
    norm: bool = True,
    zero_head: bool = False,
    dropout: float = 0.0,
    smoothing: float = 0.0,
    spare: bool = False,
    raw_pixels: bool = False,
    sgd: bool = False,
    lr: float = 3e-3,
    steps: int = STEPS,
) -> Iterator[float]:
    import torch
    from torch import nn

    rng = _tools.seeded(seed)
    images, classes = _tools.digits()
    images = images * 255 if raw_pixels else (images - 0.3) / 0.37
    model = _vit(
        depth=depth,
        norm=norm,
        lora=tuning == "lora",
        zero_head=zero_head,
        dropout=dropout,
        spare=spare,
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(
            tuning == "all"
            or (tuning == "lora" and "lora" in name)
            or name.startswith("head") != (tuning == "all_but_head")
        )
    optimizer: torch.optim.Optimizer = torch.optim.NAdam(model.parameters(), lr=lr)
    if sgd:
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
    for step in range(steps):
        if tuning == "late" and step == 80:
            model.requires_grad_(True)
        x, y = _tools.batch(rng, 48, images, classes)
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


_run = partial(Scenario, half="held", architecture="vit", steps=STEPS)
CHANCE = math.log(10)

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="vit_from_scratch",
        kind="healthy",
        train=_train,
        trap="bias of the attention's keys: its gradient is 0 but for rounding",
    ),
    _run(
        name="vit_zero_head",
        kind="healthy",
        train=partial(_train, zero_head=True),
        trap="zero-init head: no gradient behind it in the first step",
    ),
    _run(
        name="vit_lora",
        kind="healthy",
        train=partial(_train, tuning="lora", lr=1e-2),
        trap="LoRA: B = 0, so that the gradient of A is exactly 0 at first; backbone frozen",
    ),
    _run(
        name="vit_lora_zero_head",
        kind="healthy",
        train=partial(_train, tuning="lora", zero_head=True, lr=2e-2),
        trap="LoRA and a zero-init head: A waits for two others",
    ),
    _run(
        name="vit_linear_probe",
        kind="healthy",
        train=partial(_train, tuning="head", lr=0.1),
        trap="frozen backbone: nearly all gradients are None",
    ),
    _run(
        name="vit_unfreeze",
        kind="healthy",
        train=partial(_train, tuning="late"),
        trap="backbone unfrozen at step 80",
    ),
    _run(
        name="vit_unused_parameters",
        kind="healthy",
        train=partial(_train, spare=True),
        trap="parameters that the loss does not use: gradient None in every step",
    ),
    _run(
        name="vit_dropout_smoothing",
        kind="healthy",
        train=partial(_train, dropout=0.2, smoothing=0.2),
        trap="dropout and label smoothing: a high floor of the loss",
    ),
    _run(
        name="vit_deep",
        kind="healthy",
        train=partial(_train, depth=5, lr=1e-3),
        trap="five blocks, layer normalisation",
    ),
    _run(
        name="vit_zero_head_frozen_by_mistake",
        kind="unchanged",
        train=partial(_train, tuning="all_but_head", zero_head=True),
        also=frozenset({"vanishing", "initialization"}),
        twin="vit_zero_head",
        trap="all is trained but a head of zeros: gradients are there, and exactly 0",
    ),
    _run(
        name="vit_sgd",
        kind="healthy",
        train=partial(_train, sgd=True, lr=0.05, steps=250),
        steps=250,
    ),
    _run(
        name="vit_no_norm_raw_pixels",
        kind="exploding",
        train=partial(_train, sgd=True, norm=False, raw_pixels=True, lr=0.05, steps=250),
        steps=250,
        also=frozenset({"non_finite", "initialization"}),
        twin="vit_sgd",
        chance=CHANCE,
        trap="neither the pixels nor the layers are normalised",
    ),
    _run(
        name="vit_adam_lr_one",
        kind="exploding",
        train=partial(_train, lr=1.0),
        also=frozenset({"saturated", "vanishing"}),
        twin="vit_from_scratch",
        chance=CHANCE,
    ),
)

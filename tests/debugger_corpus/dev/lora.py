"""MLP with a frozen body: low-rank adapters (LoRA), bottleneck adapters, unfreezing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.debugger_corpus.dev._common import LN_10, Family, batches, digits, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 150


def _adapted(base: nn.Linear, kind: str, *, scale: float, both_zero: bool) -> nn.Module:
    """Wrap a layer so that it can be tuned without touching its weights."""
    import torch
    from torch import nn

    class LoRA(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = base
            first = torch.zeros(4, base.in_features)
            # B is zero, so the gradient of A is exactly zero in the first step.
            self.a = nn.Parameter(first if both_zero else first.normal_(std=0.2))
            self.b = nn.Parameter(torch.zeros(base.out_features, 4))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.base(x) + scale * (x @ self.a.T) @ self.b.T
            return y

    class Bottleneck(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = base
            self.down, self.up = nn.Linear(base.out_features, 8), nn.Linear(8, base.out_features)
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

        def forward(self, x: Tensor) -> Tensor:
            y = self.base(x)
            changed: Tensor = y + self.up(self.down(y).relu())
            return changed

    return LoRA() if kind == "lora" else Bottleneck()


def _train(
    seed: int,
    *,
    adapter: str = "lora",
    head: str = "trained",
    scale: float = 2.0,
    both_zero: bool = False,
    optimizer: str = "Adam",
    lr: float = 5e-3,
    unused: bool = False,
    unfreeze_at: int = -1,
    unfrozen_lr: float = 1e-3,
    order: str = "",
) -> Iterator[float]:
    """Tune adapters (or only the head) on top of random features."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    first, second, last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
    model.requires_grad_(False)
    if adapter:
        for position, layer in ((0, first), (2, second), (4, last)):
            if position < 4 or head == "adapted":
                model[position] = _adapted(layer, adapter, scale=scale, both_zero=both_zero)
    if head == "trained":
        last.requires_grad_(True)
    if order == "frozen last":
        # Freezing was meant for the body, but came after the adapters were put in.
        model.requires_grad_(False)
        last.bias.requires_grad_(True)
    if unused:
        model.register_parameter("spare", nn.Parameter(torch.zeros(3)))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if order == "base given":
        trained = list(first.parameters())  # They are frozen.
    chosen = getattr(torch.optim, optimizer)(trained, lr=lr)
    rows = batches(generator, len(features), 64)
    for step in range(STEPS):
        if step == unfreeze_at:
            fresh = [parameter for parameter in model.parameters() if not parameter.requires_grad]
            model.requires_grad_(True)
            chosen.add_param_group({"params": fresh, "lr": unfrozen_lr})
        chosen_rows = next(rows)
        loss = nn.functional.cross_entropy(
            _apply(model, features[chosen_rows]), classes[chosen_rows]
        )
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        yield loss.item()


def _apply(model: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = model(x)
    return logits


LORA = Family("lora", _train, STEPS, LN_10)

SCENARIOS: tuple[Scenario, ...] = (
    LORA.healthy("lora_plain", "gradient of A is exactly 0 at first"),
    LORA.healthy("lora_head_frozen", "nothing but LoRA is trained", head="adapted", lr=1e-2),
    LORA.healthy("lora_sgd", "gradient of A is exactly 0 at first", optimizer="SGD", lr=0.2),
    LORA.healthy("lora_head_frozen_sgd", head="adapted", optimizer="SGD", lr=0.05),
    LORA.ill(
        "lora_scale_tiny",
        "unchanged",
        "lora_head_frozen_sgd",
        "vanishing",
        scale=1e-5,
        head="adapted",
        optimizer="SGD",
        lr=0.05,
    ),
    LORA.healthy("lora_bottleneck", "zero-init adapters", adapter="bottleneck"),
    LORA.healthy(
        "lora_backbone_frozen", "most parameters have gradient None", adapter="", lr=1e-2
    ),
    LORA.healthy("lora_unused", "a parameter without any gradient", unused=True),
    LORA.healthy(
        "lora_unfreezing",
        "gradients None until step 70",
        adapter="",
        lr=1e-2,
        unfreeze_at=70,
        onset=70,
    ),
    LORA.healthy(
        "lora_unfreezing_sgd",
        "gradients None until step 70",
        adapter="",
        optimizer="SGD",
        lr=0.5,
        unfreeze_at=70,
        unfrozen_lr=0.2,
        onset=70,
    ),
    LORA.ill("lora_frozen_last", "unchanged", "lora_plain", order="frozen last"),
    LORA.ill("lora_base_given", "unchanged", "lora_plain", order="base given"),
    LORA.ill(
        "lora_both_zero",
        "initialization",
        "lora_head_frozen",
        "unchanged",
        "vanishing",
        both_zero=True,
        head="adapted",
        lr=1e-2,
    ),
    LORA.ill(
        "lora_scale_high",
        "exploding",
        "lora_sgd",
        "non_finite",
        "dead",
        scale=400.0,
        optimizer="SGD",
        lr=0.2,
    ),
    LORA.ill(
        "lora_unfreezing_lr_high",
        "exploding",
        "lora_unfreezing_sgd",
        "vanishing",
        "dead",
        "non_finite",
        onset=70,
        adapter="",
        optimizer="SGD",
        lr=0.5,
        unfreeze_at=70,
        unfrozen_lr=30.0,
    ),
)

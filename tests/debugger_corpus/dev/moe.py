"""Mixture-of-experts MLP with a learnt router."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    constant,
    digits,
    ramp,
    seeded,
)
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import nn

STEPS = 150
EXPERTS = 4


def _model(*, routing: str, rare: float, mean_of_rows: bool, fallback: bool) -> nn.Module:
    import torch
    from torch import Tensor, nn

    class Mixture(nn.Module):
        """Sends a row to its best expert, or mixes the answers of all."""

        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(32, EXPERTS)
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))
                for _ in range(EXPERTS)
            )
            with torch.no_grad():
                self.router.bias[-1] -= rare
            self.shares = torch.zeros(EXPERTS)

        def forward(self, x: Tensor) -> Tensor:
            weights = self.router(x).softmax(-1)
            self.shares = weights.mean(0)
            if routing == "all":
                answers = torch.stack([expert(x) for expert in self.experts], dim=1)
                return torch.sum(answers * weights[:, :, None], 1)
            best, chosen = weights.max(1)
            y = torch.zeros_like(x)
            for number, expert in enumerate(self.experts):
                rows = (chosen == number).nonzero()[:, 0]
                if mean_of_rows:
                    # Without rows this is 0 / 0, unless one remembers to look.
                    count = max(len(rows), 1) if fallback else len(rows)
                    y = y + 0.1 * x[rows].sum(0) / count
                if len(rows):
                    y = y.index_add(0, rows, best[rows, None] * expert(x[rows]))
            return y

    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), Mixture(), nn.Linear(32, 10))


def _initialise(model: nn.Module, *, gain: float, bias: float | None) -> None:
    """Change the weights of all experts, and the biases of all hidden units."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".experts." in name and name.endswith("weight"):
                parameter.mul_(gain)
            elif name.endswith("0.bias") and bias is not None:
                parameter.fill_(bias)


def _train(
    seed: int,
    *,
    routing: str = "best",
    rare: float = 0.0,
    mean_of_rows: bool = False,
    fallback: bool = True,
    gain: float = 1.0,
    bias: float | None = None,
    balance: float = 0.0,
    optimizer: str = "Adam",
    lr: float = 3e-3,
    schedule: Callable[[int], float] = constant,
    bf16: bool = False,
    detached: bool = False,
    decay: float = 0.0,
    nan_at: int = -1,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _model(routing=routing, rare=rare, mean_of_rows=mean_of_rows, fallback=fallback)
    _initialise(model, gain=gain, bias=bias)
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr, weight_decay=decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(features), 64)
    mixture: Any = list(model.children())[2]
    for step in range(STEPS):
        chosen_rows = next(rows)
        inputs = features[chosen_rows]
        if step == nan_at:
            inputs = inputs.clone()
            inputs[0] = float("nan")
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(inputs)
        if detached:
            logits = logits.detach().requires_grad_()  # Left over from a look at the logits.
        loss = nn.functional.cross_entropy(logits.float(), classes[chosen_rows])
        chosen.zero_grad()
        (loss + balance * EXPERTS * mixture.shares.square().sum()).backward()
        chosen.step()
        scheduler.step()
        yield loss.item()


MOE = Family("moe", _train, STEPS, LN_10)
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.2}

SCENARIOS: tuple[Scenario, ...] = (
    MOE.healthy("moe_best"),
    MOE.healthy("moe_all", routing="all"),
    MOE.healthy("moe_rare", "an expert that hardly ever gets a row", rare=1.5),
    MOE.healthy("moe_never", "an expert without rows: gradient None", rare=30.0),
    MOE.healthy("moe_balanced", "second term of the loss", balance=0.1),
    MOE.healthy("moe_bf16", "autocast", bf16=True, routing="all"),
    MOE.healthy(
        "moe_decay", "weight decay on idle experts", optimizer="AdamW", decay=0.1, rare=1.5
    ),
    MOE.healthy("moe_sgd", **_SGD),
    MOE.healthy("moe_mean", "guarded division", mean_of_rows=True, rare=30.0),
    MOE.ill(
        "moe_no_rows",
        "non_finite",
        "moe_mean",
        trap="0 / 0",
        mean_of_rows=True,
        rare=30.0,
        fallback=False,
    ),
    MOE.ill("moe_nan_batch", "non_finite", "moe_best", onset=110, nan_at=110),
    MOE.ill("moe_dead", "dead", "moe_sgd", "vanishing", "initialization", bias=-40.0, **_SGD),
    MOE.ill("moe_detached", "unchanged", "moe_best", detached=True),
    MOE.ill("moe_lr_0", "unchanged", "moe_sgd", optimizer="SGD", lr=0.0),
    MOE.ill(
        "moe_large_init", "exploding", "moe_sgd", "initialization", "non_finite", gain=60.0, **_SGD
    ),
    MOE.ill(
        "moe_lr_ramp",
        "exploding",
        "moe_sgd",
        "non_finite",
        onset=70,
        schedule=ramp(70, 1.15),
        **_SGD,
    ),
    MOE.ill(
        "moe_adam_lr_high", "exploding", "moe_all", "dead", "vanishing", lr=10.0, routing="all"
    ),
)

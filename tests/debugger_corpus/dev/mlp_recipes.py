"""Ways to train that look odd from outside and are not: an MLP on digits under many recipes."""

from __future__ import annotations

import copy
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
    seeded,
    warm_up,
)
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 160


def _model(width: int = 64, dropout: float = 0.0) -> nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


def _noisy(generator: Any, classes: Tensor, share: float) -> Tensor:
    """Give a share of the rows a class at random."""
    import torch

    wrong = torch.from_numpy(generator.random(len(classes)) < share)
    return torch.where(wrong, torch.from_numpy(generator.integers(0, 10, len(classes))), classes)


def _train(
    seed: int,
    *,
    optimizer: str = "SGD",
    lr: float = 0.1,
    momentum: float | None = None,
    decay: float | None = None,
    schedule: Callable[[int], float] = constant,
    batch: int = 64,
    dropout: float = 0.0,
    smoothing: float = 0.0,
    noise: float = 0.0,
    summed: bool = False,
    width: int = 64,
    parts: int = 1,
    bf16: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    classes = _noisy(generator, classes, noise)
    model = _model(width, dropout)
    settings = {"lr": lr, "momentum": momentum, "weight_decay": decay}
    given = {name: value for name, value in settings.items() if value is not None}
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **given)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    rows = batches(generator, len(features), batch)
    criterion = nn.CrossEntropyLoss(
        label_smoothing=smoothing, reduction="sum" if summed else "mean"
    )
    for _ in range(STEPS):
        chosen.zero_grad()
        total = 0.0
        for _part in range(parts):
            chosen_rows = next(rows)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                loss = criterion(model(features[chosen_rows]), classes[chosen_rows])
            (loss / parts).backward()
            total += loss.item() / parts
        chosen.step()
        scheduler.step()
        yield total


def _half_precision(
    seed: int, *, first_scale: float, scaled: bool = True, fused: bool = False
) -> Iterator[float]:
    """Train with autocast to fp16; without a scaler the loss is multiplied by hand."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=first_scale, enabled=scaled)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        with torch.autocast("cpu", dtype=torch.float16):
            logits = model(features[chosen_rows])
        loss = nn.functional.cross_entropy(logits.float(), classes[chosen_rows])
        optimizer.zero_grad()
        if scaled:
            scaler.scale(loss).backward()
        else:
            (loss * first_scale).backward()
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad /= first_scale
        scaler.step(optimizer)
        scaler.update()
        yield loss.item()


def _evaluated(seed: int, *, averaged: str = "") -> Iterator[float]:
    """Train with a closure, an evaluation between steps, and perhaps an averaged copy."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _model(dropout=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    copied = None
    if averaged:
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9) if averaged == "ema" else None
        copied = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=average)
    rows = batches(generator, 1400, 64)
    for step in range(STEPS):
        chosen_rows = next(rows)

        def closure(chosen_rows: Tensor = chosen_rows) -> float:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(features[chosen_rows]), classes[chosen_rows])
            loss.backward()
            return loss.item()

        value = optimizer.step(closure)
        if copied is not None and (averaged == "ema" or step >= STEPS // 2):
            copied.update_parameters(model)
        if step % 10 == 9:
            judged = copied if copied is not None else model
            judged.eval()
            with torch.no_grad():
                judged(features[1400:]).argmax(1)
            judged.train()
        assert value is not None
        yield value


def _resumed(seed: int, *, at: int) -> Iterator[float]:
    """Stop at a step, go on with new objects from a checkpoint, and warm up again."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    rows = batches(generator, len(features), 64)
    checkpoint: dict[str, Any] = {}
    for steps in (at, STEPS - at):
        model = _model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        if checkpoint:
            model.load_state_dict(checkpoint["model"])
            optimizer.load_state_dict(checkpoint["optimizer"])
            for group in optimizer.param_groups:
                group["lr"] = 2e-3
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up(20))
        for _ in range(steps):
            chosen_rows = next(rows)
            loss = nn.functional.cross_entropy(model(features[chosen_rows]), classes[chosen_rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            yield loss.item()
        checkpoint = copy.deepcopy(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        )


def _lbfgs(seed: int) -> Iterator[float]:
    """Train on 300 rows at once; the optimizer calls the model several times in a step."""
    import torch
    from torch import nn

    seeded(seed)
    features, classes = (tensor[:300] for tensor in digits())
    model = _model()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)

    def closure() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(features), classes)
        loss = loss + 1e-3 * sum((p**2).sum() for p in model.parameters())
        loss.backward()
        return loss.item()

    for _ in range(100):
        yield float(optimizer.step(closure))


def _groups(seed: int) -> Iterator[float]:
    """Use groups with rates and decay of their own, and a head that takes no part in the loss."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    first, head, unused = nn.Linear(64, 64), nn.Linear(64, 10), nn.Linear(64, 2)
    body = nn.Sequential(first, nn.ReLU())
    groups: list[dict[str, Any]] = [
        {"params": [first.weight], "weight_decay": 0.1},
        {"params": [first.bias], "weight_decay": 0.0},
        {"params": head.parameters(), "lr": 1e-2, "weight_decay": 0.01},
        {"params": unused.parameters()},
    ]
    optimizer = torch.optim.AdamW(groups, lr=2e-3)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        loss = nn.functional.cross_entropy(head(body(features[chosen_rows])), classes[chosen_rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _step_decay(step: int) -> float:
    return float(0.1 ** (step // 60))


def _cosine(period: int, step: int) -> float:
    """Fall to zero; with a period shorter than the run, start again."""
    return 0.5 * (1 + math.cos(math.pi * (step % period) / (period - 1)))


RECIPE = Family("mlp", _train, STEPS, LN_10)
HALF = Family("mlp", _half_precision, STEPS, LN_10)
EVALUATED = Family("mlp", _evaluated, STEPS, LN_10)

SCENARIOS: tuple[Scenario, ...] = (
    RECIPE.healthy("mlp_step_decay", "learning rate / 10 twice", schedule=_step_decay, lr=0.3),
    RECIPE.healthy("mlp_warm_up", "first step has lr 0", schedule=warm_up(60), lr=0.3),
    RECIPE.healthy("mlp_cosine", "ends with lr 0", schedule=partial(_cosine, STEPS), lr=0.3),
    RECIPE.healthy("mlp_restarts", "lr jumps up", schedule=partial(_cosine, 40), lr=0.3),
    RECIPE.healthy("mlp_batch_1", "noise of single rows", batch=1, lr=0.04),
    RECIPE.healthy("mlp_batch_4", "noisy small batches", batch=4, lr=0.05),
    RECIPE.healthy("mlp_dropout", dropout=0.5, lr=0.2),
    RECIPE.healthy("mlp_label_smoothing", "floor of 1 instead of 0", smoothing=0.2, lr=0.2),
    RECIPE.healthy("mlp_label_noise", "ends on a plateau", noise=0.4, lr=0.3),
    RECIPE.healthy("mlp_sum_reduction", "large gradients", summed=True, lr=0.1 / 64),
    RECIPE.healthy("mlp_accumulation", "4 backward passes a step", parts=4, batch=16, lr=0.2),
    RECIPE.healthy("mlp_bf16", "autocast", bf16=True, lr=0.2),
    RECIPE.healthy("mlp_momentum", "loss swings", lr=0.1, momentum=0.95),
    RECIPE.healthy("mlp_rmsprop", optimizer="RMSprop", lr=1e-3),
    RECIPE.plateau("mlp_random_labels", "nothing to learn", noise=1.0, width=8, lr=0.05),
    RECIPE.healthy("mlp_decay", "weight decay", lr=0.2, decay=1e-3),
    RECIPE.ill("mlp_decay_collapse", "vanishing", "mlp_decay", lr=0.2, decay=1.0),
    RECIPE.ill(
        "mlp_momentum_divergence",
        "exploding",
        "mlp_momentum",
        "dead",
        "vanishing",
        lr=3.0,
        momentum=0.95,
    ),
    HALF.healthy("mlp_scaler_skips", "first steps skipped on inf", first_scale=2.0**26),
    HALF.healthy("mlp_scaler_fused", "the same, fused Adam", first_scale=2.0**26, fused=True),
    HALF.ill(
        "mlp_fp16_no_scaler", "non_finite", "mlp_scaler_skips", first_scale=2.0**26, scaled=False
    ),
    EVALUATED.healthy("mlp_evaluated", "closure, evaluation between steps"),
    EVALUATED.healthy("mlp_ema", "averaged copy", averaged="ema"),
    EVALUATED.healthy("mlp_swa", "averaged copy from the middle on", averaged="swa"),
    Family("mlp", _resumed, STEPS, LN_10).healthy(
        "mlp_resumed", "new model and optimizer in mid-run, lr 0 again", at=90
    ),
    Family("mlp", _lbfgs, 100, LN_10).healthy("mlp_lbfgs", "several passes a step"),
    Family("mlp", _groups, STEPS, LN_10).healthy("mlp_groups", "unused head: gradient None"),
)

"""Fine-tuning: a body that knows some digits learns others, with frozen stages and rates by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, batches, constant, digits, raised, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import nn

STEPS = 150
STAGES = 4
WIDTH = 48


def _body(seed: int, activation: str, steps: int) -> nn.Sequential:
    """Train stages on the digits below 5, for a few steps."""
    import torch
    from torch import nn

    features, classes = digits()
    known = classes < 5
    features, classes = features[known], classes[known]
    layers: list[nn.Module] = []
    for number in range(STAGES):
        layers += [nn.Linear(WIDTH if number else 64, WIDTH), getattr(nn, activation)()]
    body = nn.Sequential(*layers)
    if steps:
        head = nn.Linear(WIDTH, 5)
        generator = torch.Generator().manual_seed(seed)
        parameters = [*body.parameters(), *head.parameters()]
        moved = [torch.zeros_like(parameter) for parameter in parameters]
        for _ in range(steps):
            rows = torch.randint(len(features), (64,), generator=generator)
            loss = nn.functional.cross_entropy(head(body(features[rows])), classes[rows])
            slopes = torch.autograd.grad(loss, parameters)
            # By hand, as what came before is no part of this run.
            with torch.no_grad():
                for parameter, before, slope in zip(parameters, moved, slopes, strict=True):
                    before.mul_(0.9).add_(slope)
                    parameter.sub_(0.1 * before)
    return body


def _train(
    seed: int,
    *,
    activation: str = "ReLU",
    pretrained: int = 60,
    lr: float = 0.1,
    momentum: float = 0.9,
    optimizer: str = "SGD",
    ratio: float = 0.5,
    frozen: tuple[int, ...] = (),
    thawed: dict[int, tuple[int, ...]] | None = None,
    head: str = "plain",
    loaded: str = "",
    warm_head: int = 0,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    dtype: str = "float32",
    scale: float = 1.0,
    forgotten: bool = False,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    body = _body(seed, activation, pretrained)
    features, classes = digits()
    wanted = classes >= 5
    features, classes = features[wanted], classes[wanted] - 5
    top = nn.Linear(WIDTH, 5)
    if head == "zero":
        nn.init.zeros_(top.weight)
    _load(body, loaded)
    stages = [body[2 * number : 2 * number + 2] for number in range(STAGES)]
    for number in frozen:
        stages[number].requires_grad_(False)
    if head == "frozen":
        top.weight.requires_grad_(False)
    model = nn.Sequential(body, top).to(getattr(torch, dtype))
    groups: list[dict[str, Any]] = [
        {"params": list(stage.parameters()), "lr": lr * ratio ** (STAGES - number)}
        for number, stage in enumerate(stages)
    ]
    if not forgotten:
        groups.append({"params": list(top.parameters()), "lr": lr})
    given = {"momentum": momentum} if optimizer == "SGD" else {}
    chosen = getattr(torch.optim, optimizer)(groups, lr=lr, **given)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step, part in zip(range(STEPS), batches(generator, len(features), 32), strict=False):
        for number in (thawed or {}).get(step, ()):
            stages[number].requires_grad_(True)
        logits = model(features[part].to(getattr(torch, dtype))).float()
        loss = nn.functional.cross_entropy(logits, classes[part])
        chosen.zero_grad()
        (loss * scale).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


def _load(body: nn.Sequential, kind: str) -> None:
    """Load weights that something is wrong with."""
    import torch
    from torch import nn

    layers = [layer for layer in body if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for number, layer in enumerate(layers):
            if kind == "bytes":
                # Weights kept as whole numbers from -128 to 127, without their scale.
                layer.weight.div_(layer.weight.abs().amax() / 127).round_()
            elif kind == "zeros" and number > 0:
                layer.weight.zero_()
                layer.bias.zero_()
            elif kind == "negative":
                layer.bias.sub_(6.0)
            elif kind == "positive":
                layer.bias.add_(9.0)
            elif kind == "corrupt" and number == 1:
                layer.weight[3, 7] = float("nan")
            elif kind == "percent":
                layer.weight.div_(100)


def _triangle(step: int) -> float:
    """Rise in a tenth of the steps, fall in the others (slanted triangle)."""
    return step / 15 if step < 15 else 1 - (step - 15) / STEPS


FINE = Family("finetuned", _train, STEPS, math.log(5))
_ADAM: dict[str, Any] = {"optimizer": "Adam", "lr": 5e-3}
_TANH: dict[str, Any] = {"activation": "Tanh"}
_BF16: dict[str, Any] = {"dtype": "bfloat16", **_ADAM}

SCENARIOS: tuple[Scenario, ...] = (
    FINE.healthy("fine_rates", "lower layers have a sixteenth of the rate"),
    FINE.healthy("fine_frozen", "three of four stages frozen on purpose", frozen=(0, 1, 2)),
    FINE.healthy(
        "fine_thawed",
        "one stage after the other gets gradients",
        frozen=(0, 1, 2, 3),
        thawed={30: (3,), 60: (2,), 90: (1,), 120: (0,)},
    ),
    FINE.healthy("fine_zero_head", "head starts at 0", head="zero", **_ADAM),
    FINE.healthy("fine_triangle", "lr 0 in the first step", schedule=_triangle, lr=0.2),
    FINE.healthy("fine_tanh", **_TANH),
    FINE.healthy("fine_clipped", "always clipped", clip=0.3),
    FINE.healthy("fine_bf16", "weights in bf16", **_BF16),
    FINE.ill(
        "fine_rates_too_small",
        "unchanged",
        "fine_rates",
        trap="the rate of the pretraining's last epoch",
        lr=1e-6,
    ),
    FINE.ill(
        "fine_frozen_head",
        "unchanged",
        "fine_rates",
        trap="the new head is frozen as well, only its bias is left",
        frozen=(0, 1, 2, 3),
        head="frozen",
    ),
    FINE.ill(
        "fine_bf16_tiny_lr", "unchanged", "fine_bf16", dtype="bfloat16", optimizer="Adam", lr=1e-7
    ),
    FINE.ill(
        "fine_loaded_bytes",
        "exploding",
        "fine_rates",
        "initialization",
        "non_finite",
        "dead",
        trap="weights in whole numbers, their scale forgotten",
        loaded="bytes",
    ),
    FINE.ill(
        "fine_loaded_zeros",
        "initialization",
        "fine_rates",
        "vanishing",
        "dead",
        trap="names did not match, and what was missing was filled with 0",
        loaded="zeros",
    ),
    FINE.ill(
        "fine_loaded_percent",
        "vanishing",
        "fine_tanh",
        "initialization",
        loaded="percent",
        **_TANH,
    ),
    FINE.ill(
        "fine_loaded_corrupt", "non_finite", "fine_rates", "initialization", loaded="corrupt"
    ),
    FINE.ill("fine_dead", "dead", "fine_rates", "vanishing", "initialization", loaded="negative"),
    FINE.ill(
        "fine_saturated",
        "saturated",
        "fine_tanh",
        "vanishing",
        "initialization",
        loaded="positive",
        **_TANH,
    ),
    FINE.ill(
        "fine_lr_raised",
        "exploding",
        "fine_clipped",
        "dead",
        onset=80,
        schedule=raised(80, 1000.0),
        clip=0.3,
    ),
)

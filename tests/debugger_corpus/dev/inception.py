"""Multi-branch CNN on digits: parallel convolutions of several sizes, joined by channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import (
    LN_10,
    Family,
    batches,
    constant,
    digits,
    raised,
    ramp,
    seeded,
)
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 120


class _Options:
    """How a module is built; what is not given is plain."""

    def __init__(self, **given: Any) -> None:
        self.norm: bool = given.get("norm", True)
        self.activation: str = given.get("activation", "ReLU")
        self.gain: float = given.get("gain", 1.0)
        self.branch_gain: float = given.get("branch_gain", 1.0)
        self.bias: float = given.get("bias", 0.0)
        self.modules: int = given.get("modules", 2)
        self.joined: str = given.get("joined", "cat")


def _unit(inputs: int, outputs: int, size: int, options: _Options, gain: float) -> nn.Module:
    import torch
    from torch import nn

    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=not options.norm)
    with torch.no_grad():
        convolution.weight.mul_(gain)
        if convolution.bias is not None:
            convolution.bias.add_(options.bias)
    norm = nn.BatchNorm2d(outputs) if options.norm else nn.Identity()
    return nn.Sequential(convolution, norm, getattr(nn, options.activation)())


def _model(options: _Options) -> nn.Module:
    import torch
    from torch import nn

    class Block(nn.Module):
        """Branches of 1, 3 and 5 pixels and one of a pooling."""

        def __init__(self, inputs: int) -> None:
            super().__init__()
            unit = partial(_unit, options=options)
            self.one = unit(inputs, 8, 1, gain=options.gain)
            self.three = nn.Sequential(
                unit(inputs, 4, 1, gain=options.branch_gain),
                unit(4, 8, 3, gain=options.branch_gain),
            )
            self.five = nn.Sequential(
                unit(inputs, 4, 1, gain=options.gain), unit(4, 8, 5, gain=options.gain)
            )
            self.pooled = nn.Sequential(
                nn.MaxPool2d(3, 1, 1), unit(inputs, 8, 1, gain=options.gain)
            )

        def forward(self, x: Tensor) -> Tensor:
            branches = [self.one(x), self.three(x), self.five(x), self.pooled(x)]
            if options.joined == "product":
                return torch.stack(branches).prod(0).repeat(1, 4, 1, 1)
            return torch.cat(branches, 1)

    blocks = [Block(1 if i == 0 else 32) for i in range(options.modules)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def _train(
    seed: int,
    *,
    optimizer: str = "RMSprop",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    precision: str = "",
    clip_value: float = 0.0,
    zeroed: str = "before",
    corrupt: tuple[int, float] = (STEPS, 1.0),
    own_loss: bool = False,
    **build: Any,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    images = features.reshape(-1, 1, 8, 8)
    model = _model(_Options(**build))
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model.to(dtype)
    chosen = getattr(torch.optim, optimizer)(model.parameters(), **(settings or {"lr": 1e-3}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    for step, chosen_rows in zip(range(STEPS), batches(generator, len(images), 24), strict=False):
        inputs = images[chosen_rows]
        if step >= corrupt[0]:
            inputs = inputs * corrupt[1]
        logits = model(inputs.to(dtype)).float()
        if own_loss:
            # Written out by hand: the exponential overflows for logits beyond 88.
            shares = logits.exp() / logits.exp().sum(1, keepdim=True)
            loss = -shares.gather(1, classes[chosen_rows, None]).log().mean()
        else:
            loss = nn.functional.cross_entropy(logits, classes[chosen_rows])
        if zeroed == "before":
            chosen.zero_grad()
        loss.backward()
        if zeroed == "after":
            chosen.zero_grad(set_to_none=False)
        if clip_value:
            nn.utils.clip_grad_value_(model.parameters(), clip_value)
        chosen.step()
        scheduler.step()
        yield loss.item()


INCEPTION = Family("inception", _train, STEPS, LN_10)
_SGD: dict[str, Any] = {"optimizer": "SGD", "settings": {"lr": 0.1, "momentum": 0.9}}
_PLAIN: dict[str, Any] = {"norm": False, **_SGD}
_CLIPPED: dict[str, Any] = {
    "norm": False,
    "clip_value": 0.02,
    "optimizer": "SGD",
    "settings": {"lr": 1.0},
}
_TANH: dict[str, Any] = {"activation": "Tanh", **_PLAIN}

SCENARIOS: tuple[Scenario, ...] = (
    INCEPTION.healthy("inception_rmsprop"),
    INCEPTION.healthy("inception_no_norm", **_PLAIN),
    INCEPTION.healthy("inception_tanh", "no norm", **_TANH),
    INCEPTION.healthy("inception_clip_value", "always clipped", **_CLIPPED),
    INCEPTION.healthy(
        "inception_bf16", "weights in bf16", precision="bf16", settings={"lr": 3e-3}
    ),
    INCEPTION.healthy(
        "inception_weak_branch",
        "one branch of four gives next to nothing",
        branch_gain=1e-3,
        **_PLAIN,
    ),
    INCEPTION.healthy("inception_own_loss", "cross entropy by hand", own_loss=True, norm=False),
    INCEPTION.ill(
        "inception_bf16_tiny_lr",
        "unchanged",
        "inception_bf16",
        trap="each update is below the precision of its weight",
        precision="bf16",
        settings={"lr": 2e-6},
    ),
    INCEPTION.ill(
        "inception_gradients_zeroed", "unchanged", "inception_no_norm", zeroed="after", **_PLAIN
    ),
    INCEPTION.ill(
        "inception_product_of_branches",
        "vanishing",
        "inception_no_norm",
        "initialization",
        trap="branches multiplied, one of them starts next to 0",
        joined="product",
        branch_gain=1e-2,
        modules=3,
        **_PLAIN,
    ),
    INCEPTION.ill(
        "inception_shifted_tanh",
        "saturated",
        "inception_tanh",
        "vanishing",
        "initialization",
        bias=7.0,
        **_TANH,
    ),
    INCEPTION.ill(
        "inception_lr_raised",
        "exploding",
        "inception_tanh",
        "saturated",
        "vanishing",
        onset=55,
        schedule=raised(55, 100.0),
        **_TANH,
    ),
    INCEPTION.ill(
        "inception_exp_overflow",
        "non_finite",
        "inception_own_loss",
        "exploding",
        onset=65,
        trap="pixels in another unit from a step on, and an exponential",
        own_loss=True,
        norm=False,
        corrupt=(65, 500.0),
    ),
    INCEPTION.ill(
        "inception_lr_ramp_clipped",
        "exploding",
        "inception_clip_value",
        "dead",
        "vanishing",
        onset=70,
        schedule=ramp(70, 1.2),
        **_CLIPPED,
    ),
    INCEPTION.ill(
        "inception_dead",
        "dead",
        "inception_no_norm",
        "initialization",
        "vanishing",
        bias=-3.0,
        **_PLAIN,
    ),
)

"""MLP-Mixer and a plain residual MLP on the digits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import nn

STEPS = 160


def _mixer(*, depth: int, residual: bool, norm: bool, rezero: bool) -> nn.Module:
    import torch
    from torch import nn

    tokens, width = 16, 24

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_tokens = nn.LayerNorm(width) if norm else nn.Identity()
            self.norm_channels = nn.LayerNorm(width) if norm else nn.Identity()
            self.mix_tokens = nn.Sequential(
                nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens)
            )
            self.mix_channels = nn.Sequential(
                nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width)
            )
            self.scale = nn.Parameter(torch.zeros(1)) if rezero else 1.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mixed = self.scale * self.mix_tokens(self.norm_tokens(x).transpose(1, 2)).transpose(
                1, 2
            )
            x = x + mixed if residual else mixed
            mixed = self.scale * self.mix_channels(self.norm_channels(x))
            return x + mixed if residual else mixed  # type: ignore[no-any-return]

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(1, width, kernel_size=2, stride=2)
            self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
            self.head = nn.Linear(width, 10)
            if rezero:
                nn.init.zeros_(self.head.weight)
                nn.init.zeros_(self.head.bias)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = self.patches(images).flatten(2).transpose(1, 2)
            return self.head(self.blocks(x).mean(1))  # type: ignore[no-any-return]

    return Mixer()


def _residual_mlp(*, depth: int, gain: float) -> nn.Module:
    """Without any normalisation: all hangs on the scale of the branches."""
    import torch
    from torch import nn

    width = 48

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(width, width)
            self.outer = nn.Linear(width, width)
            nn.init.kaiming_normal_(self.inner.weight, nonlinearity="relu")
            nn.init.normal_(self.outer.weight, std=gain / width**0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.outer(torch.relu(self.inner(x)))  # type: ignore[no-any-return]

    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, width), *(Block() for _ in range(depth)), nn.Linear(width, 10)
    )


def _train_mixer(
    seed: int,
    *,
    depth: int = 4,
    residual: bool = True,
    norm: bool = True,
    rezero: bool = False,
    lr: float = 3e-3,
    integer_schedule: bool = False,
    sum_reduction: bool = False,
    restarts: bool = False,
    accumulate: int = 1,
) -> Iterator[float]:
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    images, classes = _tools.digits()
    model = _mixer(depth=depth, residual=residual, norm=norm, rezero=rezero)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule: torch.optim.lr_scheduler.LRScheduler
    if restarts:
        schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=40)
    elif integer_schedule:
        # Meant as a warm-up over 1000 steps; integer division makes it 0 during all of them.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step // 1000)
    else:
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        total = 0.0
        for _ in range(accumulate):
            x, y = _tools.batch(rng, 64 // accumulate, images, classes)
            loss = functional.cross_entropy(model(x), y)
            scaled = loss * len(y) * 1000 if sum_reduction else loss / accumulate
            scaled.backward()
            total += loss.item() / accumulate
        optimizer.step()
        schedule.step()
        yield total


def _train_residual(
    seed: int, *, gain: float = 0.18, lr: float = 0.004, clip: float | None = None
) -> Iterator[float]:
    import torch
    from torch import nn

    rng = _tools.seeded(seed)
    images, classes = _tools.digits()
    model = _residual_mlp(depth=30, gain=gain)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True)
    criterion = nn.CrossEntropyLoss()
    for _ in range(STEPS):
        x, y = _tools.batch(rng, 64, images, classes)
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        yield loss.item()


_mixer_run = partial(Scenario, half="held", architecture="mixer", steps=STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    _mixer_run(name="mixer_adamw", kind="healthy", train=_train_mixer, trap="plain"),
    _mixer_run(
        name="mixer_deep",
        kind="healthy",
        train=partial(_train_mixer, depth=7),
        trap="28 linear layers deep",
    ),
    _mixer_run(
        name="mixer_rezero_zero_head",
        kind="healthy",
        train=partial(_train_mixer, rezero=True),
        trap="zero-init head and branches: all but the head has gradient 0 in the first step",
    ),
    _mixer_run(
        name="mixer_sum_reduction",
        kind="healthy",
        train=partial(_train_mixer, sum_reduction=True),
        trap="summed loss x 1000 with Adam: huge gradients, ordinary steps",
    ),
    _mixer_run(
        name="mixer_accumulate_restarts",
        kind="healthy",
        train=partial(_train_mixer, restarts=True, accumulate=4),
        trap="accumulation / 4, warm restarts of the learning rate",
    ),
    _mixer_run(
        name="mixer_no_residual_no_norm",
        kind="vanishing",
        train=partial(_train_mixer, depth=7, residual=False, norm=False),
        twin="mixer_deep",
        chance=2.3026,
    ),
    _mixer_run(
        name="mixer_integer_division_schedule",
        kind="unchanged",
        train=partial(_train_mixer, integer_schedule=True),
        twin="mixer_adamw",
    ),
    _mixer_run(
        name="mixer_adam_lr_huge",
        kind="exploding",
        train=partial(_train_mixer, lr=3.0),
        twin="mixer_adamw",
        chance=2.3026,
    ),
    _mixer_run(
        name="mixer_residual_mlp_30",
        kind="healthy",
        train=_train_residual,
        trap="30 residual layers without normalisation, scaled with care",
    ),
    _mixer_run(
        name="mixer_residual_mlp_30_gain",
        kind="exploding",
        train=partial(_train_residual, gain=3.0),
        twin="mixer_residual_mlp_30",
        chance=2.3026,
        also=frozenset({"initialization", "non_finite"}),
    ),
    _mixer_run(
        name="mixer_residual_mlp_30_gain_clipped",
        kind="exploding",
        train=partial(_train_residual, gain=3.0, clip=1.0),
        twin="mixer_residual_mlp_30",
        chance=2.3026,
        also=frozenset({"initialization"}),
        trap="clipping hides the explosion from whoever looks after it",
    ),
)

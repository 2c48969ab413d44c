"""Taggers by recurrence in both directions: a label for each token, or a shorter one by CTC."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, raised, ramp, seeded
from tests.debugger_corpus.dev._descent import descend, runs_out
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 130
WORDS = 60
TAGS = 5
LENGTH = 14


def _model(
    *, width: int, layers: int, tags: int, gain: float, shut: float, dense: str
) -> nn.Module:
    import torch
    from torch import nn

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS, width)
            self.cell = nn.GRU(width, width, layers, batch_first=True, bidirectional=True)
            self.between = nn.Sequential(nn.Linear(2 * width, width), getattr(nn, dense)())
            self.head = nn.Linear(width, tags)

        def forward(self, words: Tensor) -> Tensor:
            states, _ = self.cell(self.words(words))
            logits: Tensor = self.head(self.between(states))
            return logits

    model = Tagger()
    with torch.no_grad():
        for name, parameter in model.cell.named_parameters():
            parameter.mul_(gain)
            if "bias_ih" in name:
                # The update gate: at 1 a state stays what it was, zero.
                parameter[width : 2 * width] += shut
    return model


def _train(
    seed: int,
    *,
    width: int = 24,
    layers: int = 1,
    gain: float = 1.0,
    shut: float = 0.0,
    dense: str = "Tanh",
    bias: float = 0.0,
    batch: int = 24,
    all_padding_at: int = -1,
    **loop: Any,
) -> Iterator[float]:
    """Tag each token by its own class and by whether the next one is rarer.

    Args:
        gain: What the weights of the recurrence are multiplied with at first.
        shut: Added to the bias of the update gates.
        dense: Activation between recurrence and head.
        bias: Added to that of the layer between.
        all_padding_at: A step whose batch has no token at all.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    model = _model(width=width, layers=layers, tags=TAGS, gain=gain, shut=shut, dense=dense)
    between = model.get_submodule("between").get_submodule("0")
    assert isinstance(between, nn.Linear)
    between.bias.data += bias

    def loss_at(step: int) -> Tensor:
        words = torch.from_numpy(generator.integers(0, WORDS, (batch, LENGTH)))
        rarer = torch.roll(words, -1, 1) > words
        tags = torch.where(rarer, words % 2, 2 + words % 3)
        lengths = torch.from_numpy(generator.integers(6, LENGTH + 1, (batch, 1)))
        beyond = torch.arange(LENGTH) >= lengths
        words = words.masked_fill(beyond, 0)
        counts = (~beyond).float().flatten()
        if step == all_padding_at:
            counts = torch.zeros_like(counts)
        logits = model(words).flatten(0, 1)
        losses = nn.functional.cross_entropy(logits, tags.flatten(), reduction="none")
        return (losses * counts).sum() / counts.sum()

    return descend(loss_at, model.parameters(), STEPS, **loop)


def _transcribe(
    seed: int,
    *,
    width: int = 24,
    optimizer: str = "Adam",
    lr: float = 1e-2,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    long_at: int = -1,
    reduction: str = "mean",
    sharp: float = 1.0,
    half: bool = False,
) -> Iterator[float]:
    """Write the words of a sequence in which each is held for some steps (CTC).

    Args:
        width: Of embeddings and states.
        optimizer: Name of a class.
        lr: Learning rate.
        schedule: Of the learning rate.
        clip: Norm that gradients are clipped to.
        long_at: From this step on targets are longer than sequences can tell.
        reduction: ``mean`` or ``sum``.
        sharp: What scores are multiplied with.
        half: Odds are the logarithm of a softmax in 16 bits.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    model = _model(width=width, layers=1, tags=TAGS + 1, gain=1.0, shut=0.0, dense="Tanh")
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
    plan = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    size = 16
    for step in range(STEPS):
        targets = torch.from_numpy(generator.integers(1, TAGS + 1, (size, 4)))
        count = 2 if 0 <= long_at <= step else 4
        words = targets[:, :count].repeat_interleave(LENGTH // 4, 1)
        words = words * 10 + torch.from_numpy(generator.integers(0, 10, words.shape)) - 10
        scores = model(words).transpose(0, 1) * sharp
        odds = scores.half().softmax(2).log().float() if half else scores.log_softmax(2)
        ends = [torch.full((size,), n) for n in (words.shape[1], 4)]
        if 0 <= long_at <= step:
            ends[0] = torch.full((size,), 3)
        loss = nn.functional.ctc_loss(odds, targets, ends[0], ends[1], reduction=reduction)
        chosen.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        plan.step()
        yield loss.item()


TAGGER = Family("tagger", _train, STEPS, math.log(TAGS))
CTC = Family("tagger", _transcribe, STEPS)
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 1.0, "options": {"momentum": 0.9}}
_ADAM: dict[str, Any] = {"lr": 1e-2}
_RELU: dict[str, Any] = {"dense": "ReLU", "optimizer": "RMSprop", "lr": 4e-3, "batch": 32}
_TWO: dict[str, Any] = {"layers": 2, "width": 16, "optimizer": "NAdam", "lr": 1e-2}
_CTC_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.3, "clip": 1.0}

SCENARIOS: tuple[Scenario, ...] = (
    TAGGER.healthy("tagger", "sparse gradients of embeddings", **_ADAM),
    TAGGER.ill(
        "tagger_only_padding",
        "non_finite",
        "tagger",
        onset=60,
        trap="a mean over no token",
        all_padding_at=60,
        **_ADAM,
    ),
    TAGGER.ill(
        "tagger_rate_ramp",
        "exploding",
        "tagger",
        "saturated",
        onset=50,
        schedule=ramp(50, 1.3),
        **_ADAM,
    ),
    TAGGER.healthy("tagger_sgd", **_SGD),
    TAGGER.ill("tagger_shut", "vanishing", "tagger_sgd", "saturated", shut=12.0, **_SGD),
    TAGGER.ill("tagger_runs_out", "unchanged", "tagger_sgd", schedule=runs_out(2), **_SGD),
    TAGGER.ill(
        "tagger_tanh_stuck", "saturated", "tagger_sgd", "exploding", "vanishing", bias=15.0, **_SGD
    ),
    TAGGER.healthy("tagger_relu", **_RELU),
    TAGGER.ill("tagger_relu_off", "dead", "tagger_relu", bias=-15.0, **_RELU),
    TAGGER.ill(
        "tagger_relu_rate_late",
        "exploding",
        "tagger_relu",
        "dead",
        "saturated",
        onset=70,
        schedule=raised(70, 500.0),
        **_RELU,
    ),
    TAGGER.healthy("tagger_two", **_TWO),
    TAGGER.ill("tagger_two_zero", "initialization", "tagger_two", "vanishing", gain=0.0, **_TWO),
    CTC.healthy("tagger_ctc"),
    CTC.healthy("tagger_ctc_clipped", "clipping that nearly always acts", **_CTC_SGD),
    CTC.ill("tagger_ctc_too_long", "non_finite", "tagger_ctc", onset=40, long_at=40),
    CTC.healthy("tagger_ctc_sharp", sharp=8.0),
    CTC.ill("tagger_ctc_log_half", "non_finite", "tagger_ctc_sharp", sharp=8.0, half=True),
    CTC.ill(
        "tagger_ctc_rate_high",
        "exploding",
        "tagger_ctc_clipped",
        "saturated",
        **_CTC_SGD | {"lr": 150.0},
    ),
)

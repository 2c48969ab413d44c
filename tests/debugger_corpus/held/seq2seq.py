"""Elman networks over sequences, and a GRU encoder and decoder with attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 160
SYMBOLS = 8


def _elman(*, relu: bool, gain: float) -> nn.Module:
    """Remember a symbol that is shown first, through steps that show nothing."""
    import torch
    from torch import nn

    class Elman(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shown = nn.Embedding(SYMBOLS, 16)
            self.cells = nn.RNN(16, 32, nonlinearity="relu" if relu else "tanh", batch_first=True)
            self.head = nn.Linear(32, SYMBOLS)
            recurrent = self.cells.get_parameter("weight_hh_l0")
            if relu:  # the identity, as in IRNN
                nn.init.eye_(recurrent)
                recurrent.data.mul_(gain)
            else:
                nn.init.orthogonal_(recurrent, gain)

        def forward(self, symbols: torch.Tensor, lag: int) -> torch.Tensor:
            x = self.shown(symbols)[:, None]
            silence = torch.zeros(len(symbols), lag, x.shape[-1])
            states, _ = self.cells(torch.cat([x, silence], 1))
            return self.head(states[:, -1])  # type: ignore[no-any-return]

    return Elman()


def _train_elman(
    seed: int,
    *,
    relu: bool = False,
    gain: float = 1.0,
    lag: int = 25,
    lr: float = 0.05,
    clip: float | None = 1.0,
    curriculum: bool = False,
    spike_at: int | None = None,
) -> Iterator[float]:
    import torch
    from torch.nn import functional, utils

    rng = _tools.seeded(seed)
    model = _elman(relu=relu, gain=gain)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for step in range(STEPS):
        symbols = torch.from_numpy(rng.integers(0, SYMBOLS, 32))
        # The curriculum: the symbol must be kept for longer from time to time.
        steps = (2, 6, 15, lag)[min(3, step // 40)] if curriculum else lag
        loss = functional.cross_entropy(model(symbols, steps), symbols)
        if step == spike_at:
            loss = loss * 1e4  # one batch with broken weights
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        yield loss.item()


def _translator() -> nn.Module:
    import torch
    from torch import nn

    class Translator(nn.Module):
        """Gated recurrent units; dot-product attention over the encoder's states."""

        def __init__(self) -> None:
            super().__init__()
            self.source = nn.Embedding(SYMBOLS, 16)
            self.target = nn.Embedding(SYMBOLS + 1, 16)
            self.encoder = nn.GRU(16, 24, batch_first=True, bidirectional=True)
            self.decoder = nn.GRU(16, 48, batch_first=True)
            self.query = nn.Linear(48, 48)
            self.head = nn.Linear(96, SYMBOLS)

        def forward(
            self, source: torch.Tensor, given: torch.Tensor, mask: torch.Tensor
        ) -> torch.Tensor:
            encoded, state = self.encoder(self.source(source))
            start = state.transpose(0, 1).reshape(1, len(source), 48)
            decoded, _ = self.decoder(self.target(given), start)
            scores = self.query(decoded) @ encoded.transpose(1, 2) / 48**0.5
            weights = scores.masked_fill(mask[:, None], -math.inf).softmax(-1)
            return self.head(torch.cat([decoded, weights @ encoded], -1))  # type: ignore[no-any-return]

    return Translator()


def _train_translator(
    seed: int,
    *,
    length: int = 6,
    clip: float | None = None,
    lengthen: bool = False,
    empty_at: int | None = None,
    zero_too_late: bool = False,
) -> Iterator[float]:
    """Translate each symbol to another and turn the sequence round, teacher forced."""
    import torch
    from torch.nn import functional, utils

    rng = _tools.seeded(seed)
    model = _translator()
    dictionary = torch.from_numpy(rng.permutation(SYMBOLS))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, betas=(0.9, 0.98))
    for step in range(STEPS):
        long = length + 2 * (step // 50) if lengthen else length
        source = torch.from_numpy(rng.integers(0, SYMBOLS, (32, long)))
        target = dictionary[source].flip(1)
        given = torch.cat([torch.full((32, 1), SYMBOLS), target[:, :-1]], 1)
        mask = torch.zeros_like(source, dtype=torch.bool)
        if empty_at is not None and step >= empty_at:
            # Sentences of no words appear among the data: nothing to attend to, softmax of -inf.
            mask[0] = True
        loss = functional.cross_entropy(model(source, given, mask).flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            utils.clip_grad_norm_(model.parameters(), clip)
        if zero_too_late:
            optimizer.zero_grad()
        optimizer.step()
        yield loss.item()


_run = partial(Scenario, half="held", architecture="seq2seq", steps=STEPS)
CHANCE = math.log(SYMBOLS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="seq2seq_elman_orthogonal",
        kind="healthy",
        train=_train_elman,
        trap="25 steps back through tanh, orthogonal recurrence",
    ),
    _run(
        name="seq2seq_elman_curriculum",
        kind="healthy",
        train=partial(_train_elman, curriculum=True),
        trap="the loss jumps up whenever the task gets harder",
    ),
    _run(
        name="seq2seq_elman_spike",
        kind="healthy",
        train=partial(_train_elman, spike_at=110),
        trap="one loss 1e4 times too large, clipped, recovers",
    ),
    _run(
        name="seq2seq_elman_short_memory",
        kind="vanishing",
        train=partial(_train_elman, gain=0.3),
        twin="seq2seq_elman_orthogonal",
    ),
    _run(
        name="seq2seq_elman_relu",
        kind="healthy",
        train=partial(_train_elman, relu=True, lr=0.02),
        trap="ReLU recurrence that starts as the identity",
    ),
    _run(
        name="seq2seq_elman_relu_explodes",
        kind="exploding",
        train=partial(_train_elman, relu=True, gain=3.0, lr=0.02, clip=None),
        also=frozenset({"non_finite", "initialization", "dead"}),
        twin="seq2seq_elman_relu",
        chance=CHANCE,
    ),
    _run(name="seq2seq_gru", kind="healthy", train=_train_translator, trap="plain"),
    _run(
        name="seq2seq_gru_always_clipped",
        kind="healthy",
        train=partial(_train_translator, clip=0.02),
        trap="the clip is active in every step",
    ),
    _run(
        name="seq2seq_gru_lengthened",
        kind="healthy",
        train=partial(_train_translator, length=4, lengthen=True),
        trap="sequences get longer; the loss jumps and falls",
    ),
    _run(
        name="seq2seq_gru_empty_sentence",
        kind="non_finite",
        train=partial(_train_translator, empty_at=125),
        onset=125,
        twin="seq2seq_gru",
    ),
    _run(
        name="seq2seq_gru_zeroed_too_late",
        kind="unchanged",
        train=partial(_train_translator, zero_too_late=True),
        twin="seq2seq_gru",
        trap="zero_grad between backward and step",
    ),
)

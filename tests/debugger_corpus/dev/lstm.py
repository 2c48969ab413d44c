"""LSTM, GRU and plain recurrent classifiers of short generated sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, ramp, seeded, warm_up
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 150
FEATURES = 6
CLASSES = 4


def _sequences(
    generator: numpy.random.Generator, size: int, length: int, padding: int, noise: float
) -> tuple[Tensor, Tensor]:
    """Make noisy waves whose frequency is the class, with zeros at their end."""
    import numpy
    import torch

    classes = generator.integers(0, CLASSES, size)
    time = numpy.arange(length)[None, :, None]
    phase = generator.uniform(0, 0.6, (size, 1, FEATURES))
    waves = numpy.sin(0.25 * (1 + classes[:, None, None]) * time + phase)
    waves += noise * generator.normal(size=waves.shape)
    padded = numpy.concatenate([waves, numpy.zeros((size, padding, FEATURES))], axis=1)
    return torch.tensor(padded, dtype=torch.float32), torch.tensor(classes)


def _model(
    cell: str,
    *,
    hidden: int,
    recurrent: float | None,
    output_gate: float,
    forget_gate: float = 0.0,
) -> nn.Module:
    import torch
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell: nn.RNNBase
            if cell == "lstm":
                self.cell = nn.LSTM(FEATURES, hidden, batch_first=True)
            elif cell == "gru":
                self.cell = nn.GRU(FEATURES, hidden, batch_first=True)
            else:
                self.cell = nn.RNN(FEATURES, hidden, nonlinearity=cell, batch_first=True)
            self.head = nn.Linear(hidden, CLASSES)

        def forward(self, sequences: Tensor, last: int) -> Tensor:
            states, _ = self.cell(sequences)
            logits: Tensor = self.head(states[:, last])
            return logits

    model = Classifier()
    with torch.no_grad():
        weights = dict(model.cell.named_parameters())
        if recurrent is not None:
            weights["weight_hh_l0"].copy_(recurrent * torch.eye(hidden))
        if output_gate:
            weights["bias_ih_l0"][-hidden:] += output_gate
        if forget_gate:
            weights["bias_ih_l0"][hidden : 2 * hidden] += forget_gate
    return model


def _train(
    seed: int,
    *,
    cell: str = "lstm",
    hidden: int = 24,
    length: int = 16,
    padding: int = 0,
    reads_padding: bool = False,
    recurrent: float | None = None,
    output_gate: float = 0.0,
    forget_gate: float = 0.0,
    zero_point: float = 0.0,
    optimizer: str = "Adam",
    lr: float = 0.01,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    scale: float = 1.0,
    noise: float = 0.1,
    harder_at: tuple[int, ...] = (),
    shares: str = "",
    nan_at: int = -1,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    model = _model(
        cell,
        hidden=hidden,
        recurrent=recurrent,
        output_gate=output_gate,
        forget_gate=forget_gate,
    )
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    last = -1 if reads_padding else length - 1
    for step in range(STEPS):
        harder = 0.5 * sum(step >= at for at in harder_at)
        sequences, classes = _sequences(generator, 32, length, padding, noise + harder)
        if shares:
            # Shares of the energy a sequence has; a sequence of zeros has none to share.
            if step == nan_at:
                sequences[7] = 0.0
            sequences = sequences / sequences.abs().sum(dim=(1, 2), keepdim=True) * 100
        # As with temperatures in Kelvin: the same waves, far from zero.
        loss = nn.functional.cross_entropy(model(sequences + zero_point, last), classes)
        chosen.zero_grad()
        (scale * loss).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        chosen.step()
        scheduler.step()
        yield loss.item()


def _resumed(seed: int, *, at: int) -> Iterator[float]:
    """Stop and go on from a checkpoint with new objects, and a second warm-up."""
    import torch
    from torch import nn

    generator = seeded(seed)
    saved: list[Any] = []
    for steps in (at, STEPS - at):
        model = _model("gru", hidden=24, recurrent=None, output_gate=0.0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        if saved:
            model.load_state_dict(saved[0])
            optimizer.load_state_dict(saved[1])
            optimizer.param_groups[0]["lr"] = 0.01
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up(15))
        for _ in range(steps):
            sequences, classes = _sequences(generator, 32, 16, 0, 0.1)
            loss = nn.functional.cross_entropy(model(sequences, -1), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            yield loss.item()
        saved = [model.state_dict(), optimizer.state_dict()]


_RNN: dict[str, Any] = {"cell": "relu", "length": 30}
_SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.5}
_SLOW: dict[str, Any] = {"optimizer": "SGD", "lr": 0.05, **_RNN}
LSTM = Family("lstm", _train, STEPS, math.log(CLASSES))

SCENARIOS: tuple[Scenario, ...] = (
    LSTM.healthy("lstm_plain"),
    LSTM.healthy("gru_clipped", "clipped in every step", cell="gru", clip=0.1),
    LSTM.healthy("gru_warm_up", "lr 0 at first", cell="gru", schedule=warm_up(40)),
    LSTM.healthy("rnn_tanh", cell="tanh"),
    LSTM.healthy(
        "rnn_relu_identity",
        "recurrent weights are the identity",
        recurrent=1.0,
        lr=2e-3,
        clip=1.0,
        **_RNN,
    ),
    LSTM.healthy("lstm_padded", "half of the steps are zeros", padding=40),
    LSTM.healthy("lstm_curriculum", "loss jumps when the task gets harder", harder_at=(60, 110)),
    LSTM.healthy("lstm_shares", "inputs divided by their sum", shares="sum"),
    LSTM.healthy("gru_sgd", "floor above 0", cell="gru", noise=1.5, **_SGD),
    LSTM.healthy("lstm_sgd", length=8, **_SGD),
    LSTM.healthy("rnn_padded", "half of the steps are zeros", cell="tanh", padding=60, **_SGD),
    LSTM.healthy(
        "rnn_relu_sgd", "recurrent weights are the identity", recurrent=1.0, clip=1.0, **_SLOW
    ),
    Family("lstm", _resumed, STEPS, math.log(CLASSES)).healthy(
        "gru_resumed", "new objects in mid-run, lr 0 again", at=80
    ),
    LSTM.ill(
        "rnn_explosion_clipped",
        "exploding",
        "rnn_relu_sgd",
        "initialization",
        recurrent=1.6,
        clip=1.0,
        **_SLOW,
    ),
    LSTM.ill(
        "rnn_explodes",
        "exploding",
        "rnn_relu_sgd",
        "non_finite",
        recurrent=1.1,
        optimizer="SGD",
        lr=0.5,
        **_RNN,
    ),
    LSTM.ill(
        "rnn_reads_padding",
        "vanishing",
        "rnn_padded",
        cell="tanh",
        padding=60,
        reads_padding=True,
        **_SGD,
    ),
    LSTM.ill(
        "lstm_closed_output",
        "saturated",
        "lstm_sgd",
        "vanishing",
        "initialization",
        length=8,
        output_gate=-30.0,
        **_SGD,
    ),
    LSTM.ill(
        "lstm_zero_sequence", "non_finite", "lstm_shares", onset=100, shares="sum", nan_at=100
    ),
    LSTM.ill(
        "gru_lr_ramp",
        "exploding",
        "gru_sgd",
        "saturated",
        onset=90,
        cell="gru",
        noise=1.5,
        schedule=ramp(90, 1.2),
        **_SGD,
    ),
)

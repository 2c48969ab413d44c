"""Four stacked LSTM layers with peepholes that add numbers up, written out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.debugger_corpus.dev._common import Family, constant, raised, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    import numpy
    from torch import Tensor, nn

STEPS = 120
LENGTH = 7


def _sums(generator: numpy.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    """Make numbers, some of which are marked, and the running sum of the marked ones."""
    import torch

    numbers = torch.from_numpy(generator.uniform(-1, 1, (size, LENGTH, 1))).float()
    marks = torch.from_numpy(generator.random((size, LENGTH, 1)) < 0.7).float()
    return torch.cat([numbers, marks], 2), (numbers * marks).cumsum(1)


def _model(
    *,
    layers: int,
    hidden: int,
    gates: str,
    gain: float,
    peep: float,
    input_gate: float,
    output_gate: float,
) -> nn.Module:
    import torch
    from torch import nn

    squash: Any = nn.functional.hardsigmoid if gates == "hard" else torch.sigmoid

    class Layer(nn.Module):
        def __init__(self, inputs: int) -> None:
            super().__init__()
            self.joint = nn.Linear(inputs + hidden, 4 * hidden)
            self.peep = nn.Parameter(peep * torch.randn(3, hidden))
            with torch.no_grad():
                self.joint.weight.mul_(gain)
                self.joint.bias[:hidden] += input_gate
                self.joint.bias[hidden : 2 * hidden] += 1.0
                self.joint.bias[2 * hidden : 3 * hidden] += output_gate

        def forward(self, sequence: Tensor) -> Tensor:
            state = cell = sequence.new_zeros(len(sequence), hidden)
            states = []
            for now in sequence.unbind(1):
                enter, keep, leave, new = self.joint(torch.cat([now, state], 1)).chunk(4, 1)
                enter = squash(enter + self.peep[0] * cell)
                keep = squash(keep + self.peep[1] * cell)
                cell = keep * cell + enter * new.tanh()
                state = squash(leave + self.peep[2] * cell) * cell.tanh()
                states.append(state)
            return torch.stack(states, 1)

    stack = [Layer(2 if i == 0 else hidden) for i in range(layers)]
    return nn.Sequential(*stack, nn.Linear(hidden, 1))


def _train(
    seed: int,
    *,
    optimizer: str = "Adam",
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    clip: float = 0.0,
    clip_value: float = 0.0,
    loss_of: str = "mse_loss",
    unit: float = 1.0,
    inputs_unit: float = 1.0,
    offset: float = 0.0,
    standardised: str = "",
    single_at: int = STEPS,
    replaced: bool = False,
    summed: bool = False,
    kept: tuple[int, float] = (STEPS, 1.0),
    **build: Any,
) -> Iterator[float]:
    import torch
    from torch import nn

    generator = seeded(seed)
    plain: dict[str, Any] = {"layers": 4, "hidden": 16, "gates": "soft", "gain": 1.5, "peep": 0.1}
    rest: dict[str, Any] = {"input_gate": 0.0, "output_gate": 0.0}
    plain |= rest | build
    model: Any = _model(**plain)
    parameters = list(model.parameters())
    if replaced:
        # Built again after the optimizer was made; only the first layer is still the old one.
        first, model = model[0], _model(**plain)
        model[0] = first
    chosen = getattr(torch.optim, optimizer)(parameters, **(settings or {"lr": 1e-2}))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule)
    slow = [parameter.detach().clone() for parameter in model.parameters()]
    for step in range(STEPS):
        sequences, sums = _sums(generator, 1 if step == single_at else 32)
        if standardised:
            # Over the rows of the batch; a single row has no spread.
            unbiased = standardised != "guarded"
            spread = sequences[..., :1].std(0, keepdim=True, correction=int(unbiased))
            spread = spread if unbiased else spread + 0.1
            sequences = torch.cat([sequences[..., :1] / spread, sequences[..., 1:]], 2)
        guesses = model(sequences * inputs_unit + offset)
        loss = getattr(nn.functional, loss_of)(
            guesses, sums * unit, reduction="sum" if summed else "mean"
        )
        chosen.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if clip_value:
            nn.utils.clip_grad_value_(model.parameters(), clip_value)
        chosen.step()
        scheduler.step()
        if step % kept[0] == kept[0] - 1:
            for average, parameter in zip(slow, model.parameters(), strict=True):
                average.lerp_(parameter.detach(), kept[1])
                parameter.data.copy_(average)
        yield nn.functional.mse_loss(guesses, sums * unit).item()


SUMS = Family("lstm_stacked", _train, STEPS)
_NESTEROV: dict[str, Any] = {
    "optimizer": "SGD",
    "settings": {"lr": 0.1, "momentum": 0.95, "nesterov": True},
    "layers": 2,
}
_VALUE: dict[str, Any] = {"clip_value": 0.05, **_NESTEROV}

SCENARIOS: tuple[Scenario, ...] = (
    SUMS.healthy("stack_adam"),
    SUMS.healthy("stack_huber_clipped", "clipped in every step", loss_of="huber_loss", clip=0.1),
    SUMS.healthy("stack_hard_gates", "gates that are exactly 0 or 1 at times", gates="hard"),
    SUMS.healthy("stack_nesterov", **_NESTEROV),
    SUMS.healthy("stack_clip_value", **_VALUE),
    SUMS.healthy("stack_single_rows", "a batch of one row", standardised="guarded", single_at=80),
    SUMS.healthy("stack_small_unit", "loss about 1e-7", unit=1e-3, settings={"lr": 3e-3}),
    SUMS.ill(
        "stack_std_of_one_row",
        "non_finite",
        "stack_single_rows",
        onset=80,
        standardised="plain",
        single_at=80,
    ),
    SUMS.ill(
        "stack_closed_input_gates",
        "vanishing",
        "stack_nesterov",
        "saturated",
        "initialization",
        input_gate=-14.0,
        **_NESTEROV,
    ),
    SUMS.ill(
        "stack_hard_gates_shut",
        "saturated",
        "stack_hard_gates",
        "vanishing",
        "initialization",
        gates="hard",
        output_gate=-5.0,
    ),
    SUMS.ill(
        "stack_uncentred_inputs",
        "saturated",
        "stack_nesterov",
        "vanishing",
        offset=400.0,
        **_NESTEROV,
    ),
    SUMS.ill(
        "stack_small_start",
        "vanishing",
        "stack_nesterov",
        "initialization",
        gain=0.01,
        peep=0.001,
        optimizer="SGD",
        settings={"lr": 0.1, "momentum": 0.95, "nesterov": True},
        layers=4,
    ),
    SUMS.ill(
        "stack_summed_loss", "exploding", "stack_nesterov", "saturated", summed=True, **_NESTEROV
    ),
    SUMS.ill(
        "stack_lr_raised",
        "exploding",
        "stack_clip_value",
        "saturated",
        onset=75,
        trap="behind clipping by value",
        schedule=raised(75, 150.0),
        **_VALUE,
    ),
    SUMS.ill("stack_replaced", "unchanged", "stack_adam", replaced=True),
    SUMS.healthy("stack_lookahead", "every third step goes back half of the way", kept=(3, 0.5)),
    SUMS.ill(
        "stack_average_put_back",
        "unchanged",
        "stack_lookahead",
        trap="a slow average of the weights replaces them after each step",
        kept=(1, 1e-4),
    ),
)

"""Models with parameters of all kinds, and what they are called."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, spectral_norm

from tests.runtime.debugger.programs.common import (
    DEVICE,
    STEPS,
    Account,
    data,
    generator,
    mlp,
    say,
    train,
)

SGD, Adam = torch.optim.SGD, torch.optim.Adam


def sparse() -> None:
    torch.manual_seed(0)
    model = nn.EmbeddingBag(100, 8, sparse=True, mode="sum")
    words = torch.randint(0, 100, (32, 5), generator=generator(2))
    if DEVICE != "cpu":  # where the order of sums for a word that comes twice is not defined
        words = torch.randperm(100, generator=generator(2))[:96].reshape(32, 3)
    train("sparse", model, torch.optim.SparseAdam(list(model.parameters()), 0.1), lambda: model(words).square().mean())  # fmt: skip


def frozen() -> None:
    """The first layers, until the sixth step."""
    model, (x, y) = mlp(), data()
    model[:3].requires_grad_(False)
    optimizer, account = Adam(model.parameters(), 0.01), Account.of(model)
    for step in range(STEPS):
        if step == 6:
            model[:3].requires_grad_(True)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        account.measure(loss)
        optimizer.step()
    say("frozen", account)


class Numbers(nn.Module):
    """Parameters of one type, a single number, one without elements, and one never used."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(6, 4, dtype=kind))
        self.one = nn.Parameter(torch.ones((), dtype=kind))
        self.empty = nn.Parameter(torch.empty(0, 3, dtype=kind))
        self.unused = nn.Parameter(torch.ones(2, dtype=kind))

    def forward(self, x: Tensor) -> Any:
        return x.to(self.matrix.dtype) @ self.matrix.T * self.one


def numbers(kind: str, *models: nn.Module) -> None:
    """Models whose loss is the mean square of what they make of random numbers."""
    model = nn.ModuleList(models) if len(models) > 1 else models[0]
    x = torch.randn(16, 4, generator=generator(3))

    def loss() -> Any:
        squares = [each(x).abs().square().mean() for each in models]
        return sum((each.float() for each in squares[1:]), squares[0].float())

    train(kind, model, SGD(model.parameters(), 0.01), loss)


class Single(nn.Module):
    """No parameter has more than one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return (self.slope * x + self.shift).sin()


def pictures(kind: str, model: nn.Module) -> None:
    x = torch.randn(8, 3, 8, 8, generator=generator(4))
    x = x.to(memory_format=torch.channels_last)
    train(kind, model, SGD(model.parameters(), 0.1), lambda: model(x).square().mean())


def convolutions() -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def parametrized() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(16, 16)),
        parametrizations.spectral_norm(nn.Linear(16, 16)),
        parametrizations.orthogonal(nn.Linear(16, 16)),
        spectral_norm(nn.Linear(16, 4)),
    )


class Tied(nn.Module):
    """One weight in two places, and a list of parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.scales = nn.ParameterList([torch.ones(4), torch.ones(4)])
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.first(x).relu())) * self.scales[0] * self.scales[1]  # type: ignore[no-any-return]


class Shell(nn.Module):
    """A wrapper as DDP and others are."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *given: Any) -> Any:
        return self.module(*given)


def loose() -> None:
    """Layers in a plain list: no model holds them all."""
    torch.manual_seed(0)
    layers = [nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)]
    names = {}
    for prefix, layer in zip(("", "Linear2.", "Linear3."), layers, strict=True):
        names.update({f"{prefix}{name}": each for name, each in layer.named_parameters()})
    optimizer, account, (x, y) = SGD(names.values(), 0.1), Account(names), data()
    for _ in range(STEPS):
        optimizer.zero_grad()
        hidden = layers[1](layers[0](x).relu()).relu()
        loss = functional.cross_entropy(layers[2](hidden), y)
        loss.backward()
        account.measure(loss)
        optimizer.step()
    say("loose", account)


def without_module() -> None:
    """Tensors that are in no module at all."""
    weight, bias = torch.zeros(4, 16, requires_grad=True), torch.zeros(4, requires_grad=True)
    account, (x, y) = Account({"group.0": weight, "group.1": bias}), data()
    optimizer = SGD([weight, bias], 0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = functional.cross_entropy(x @ weight.T + bias, y)
        loss.backward()
        account.measure(loss)
        optimizer.step()
    say("without_module", account)


def deterministic() -> None:
    torch.use_deterministic_algorithms(True)
    model = mlp()
    train("deterministic", model, Adam(model.parameters(), 0.01))
    torch.use_deterministic_algorithms(False)


def out_of_sight() -> None:
    """The garbage collector no longer shows what was there when it was told to freeze."""
    model = mlp()
    optimizer = SGD(model.parameters(), 0.1)
    gc.freeze()
    train("out_of_sight", model, optimizer)
    gc.unfreeze()


def main() -> None:
    sparse()
    frozen()
    for kind in (torch.complex64, torch.float64, torch.bfloat16):
        numbers(str(kind), Numbers(kind))
    numbers("mixed", *(Numbers(kind) for kind in (torch.bfloat16, torch.float64, torch.complex64)))
    numbers("single", Single())
    pictures("channels_last", convolutions())
    model = parametrized()
    train("parametrized", model, SGD(model.parameters(), 0.05))
    model = Tied()
    train("tied", model, SGD(model.parameters(), 0.1))
    model = Shell(mlp())
    train("parallel", nn.DataParallel(model), SGD(model.parameters(), 0.1))
    loose()
    without_module()
    deterministic()
    out_of_sight()


if __name__ == "__main__":
    main()

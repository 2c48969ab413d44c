"""Many ways to step: kinds of optimizers, closures, several at once, ones that come and go."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.runtime.debugger.programs.common import STEPS, Account, data, mlp, say, train

SGD, Adam = torch.optim.SGD, torch.optim.Adam


class Own(torch.optim.Optimizer):
    """An optimizer of the user's."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad, alpha=-group["lr"])


class Above(torch.optim.Adam):
    """One that calls the step of the class that it inherits from."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class Around(torch.optim.Optimizer):
    """One that has another inside."""

    def __init__(self, parameters: Any) -> None:
        parameters = list(parameters)
        super().__init__(parameters, {"lr": 0.1})
        self.inner = SGD(parameters, 0.1)

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


MAKERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: SGD(p, 0.1),
    "momentum": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True),
    "single": lambda p: SGD(p, 0.1, foreach=False),
    "foreach": lambda p: Adam(p, 0.01, foreach=True),
    "fused": lambda p: Adam(p, 0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01),
    "tensor_rate": lambda p: Adam(p, torch.tensor(0.01), foreach=False),
    "own": Own,
    "above": Above,
    "around": Around,
}


def with_closure(kind: str, make: Callable[[Any], torch.optim.Optimizer]) -> None:
    model, (x, y) = mlp(), data()
    optimizer, account = make(model.parameters()), Account.of(model)
    for _ in range(STEPS):
        calls: list[Tensor] = []

        def closure(calls: list[Tensor] = calls) -> Any:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            if not calls:
                account.measure(loss)
            calls.append(loss)
            return loss

        optimizer.step(closure)
        account.more.setdefault("calls", []).append(len(calls))
    say(kind, account)


def gan() -> None:
    torch.manual_seed(0)
    maker = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
    judge = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(), nn.Linear(16, 1))
    of_maker, of_judge = Adam(maker.parameters(), 1e-3), Adam(judge.parameters(), 1e-3)
    first, second = Account.of(judge), Account.of(maker)
    real = torch.randn(32, 8)
    for _ in range(STEPS):
        made = maker(torch.randn(32, 4))
        of_judge.zero_grad()
        loss = (
            functional.softplus(judge(made.detach())).mean()
            + functional.softplus(-judge(real)).mean()
        )
        loss.backward()
        first.measure(loss)
        of_judge.step()
        of_maker.zero_grad()
        loss = functional.softplus(-judge(made)).mean()
        loss.backward()
        second.measure(loss)
        of_maker.step()
    say("gan", first, second)


def added_group() -> None:
    """Layers that are trained from the seventh step on."""
    model = mlp()
    optimizer = SGD(model[4].parameters(), 0.1)
    head = Account({f"4.{name}": each for name, each in model[4].named_parameters()})
    x, y = data()
    for step in range(STEPS):
        if step == 7:
            optimizer.add_param_group({"params": model[:4].parameters()})
            head.names = dict(model.named_parameters())
        model.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        head.measure(loss)
        optimizer.step()
    say("added_group", head)


def resumed() -> None:
    """A crash and a new beginning within one process: optimizer and model are made anew."""
    model, (x, y) = mlp(), data()
    accounts, optimizer = [], Adam(model.parameters(), 0.01)
    for _ in range(3):
        account = Account.of(model)
        accounts.append(account)
        for _ in range(4):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            account.measure(loss)
            optimizer.step()
        saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        account.names = {name: each.detach().clone() for name, each in account.names.items()}
        del model, optimizer
        gc.collect()
        model = mlp()
        optimizer = Adam(model.parameters(), 0.01)
        model.load_state_dict(saved[0])
        optimizer.load_state_dict(saved[1])
    say("resumed", *accounts)


def failing() -> None:
    """A step that raises, and training that goes on."""
    model, (x, y) = mlp(), data()
    optimizer, account = SGD(model.parameters(), 0.1), Account.of(model)

    def closure() -> float:
        raise ArithmeticError("from the program")

    for step in range(STEPS):
        if step == 3:
            with contextlib.suppress(ArithmeticError):
                optimizer.step(closure)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        account.measure(loss)
        optimizer.step()
    say("failing", account)


def copied() -> None:
    """Copies and pickles in mid-run bear no trace of the debugger, and go on like the original."""
    model, (x, y) = mlp(), data()
    optimizer, account = Adam(model.parameters(), 0.01), Account.of(model)
    texts, packed = [], b""
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        account.measure(loss)
        optimizer.step()
        model_copy, optimizer_copy = copy.deepcopy((model, optimizer))
        packed = pickle.dumps((model, optimizer, model.state_dict(), optimizer.state_dict()))
        texts.append(b"orchestrator" in packed)
        texts.append("orchestrator" in f"{vars(optimizer_copy)} {vars(model_copy[0])}")
    assert len(pickle.loads(packed)[1].state) == 6
    say("copied", account, marked=any(texts))


def main() -> None:
    for kind, make in MAKERS.items():
        model = mlp()
        train(kind, model, make(model.parameters()))
    with_closure("closure", MAKERS["sgd"])
    with_closure("lbfgs", lambda p: torch.optim.LBFGS(p, 0.1, max_iter=4))
    gan()
    added_group()
    resumed()
    failing()
    copied()


if __name__ == "__main__":
    main()

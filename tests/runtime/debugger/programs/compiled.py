"""What torch.compile makes: of the model, of the optimizer's step, of a whole step, of clipping."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from tests.runtime.debugger.programs.common import STEPS, Account, data, mlp, say, train

BACKEND = sys.argv[1]


def made(function: Any, **more: Any) -> Any:
    return torch.compile(function, backend=BACKEND, **more)


def model_alone() -> None:
    model = mlp()
    net = made(model)
    x, y = data()
    train("model", model, torch.optim.SGD(model.parameters(), 0.1), lambda: functional.cross_entropy(net(x), y))  # fmt: skip


def step_alone() -> None:
    model, (x, y) = mlp(), data()
    optimizer, account = torch.optim.Adam(model.parameters(), 0.01), Account.of(model)
    step = made(optimizer.step)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        account.measure(loss)
        step()
    say("step", account)


def whole_step() -> None:
    model, (x, y) = mlp(), data()
    optimizer, account = torch.optim.SGD(model.parameters(), 0.1), Account.of(model)

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    compiled = made(step)
    for _ in range(STEPS):
        account.measure(compiled(x, y))  # the gradients are still there
    say("whole", account)


def clipping() -> None:
    """In one graph, which may not be broken."""
    model, (x, y) = mlp(), data()
    optimizer, account = torch.optim.SGD(model.parameters(), 0.1), Account.of(model)
    clip = made(lambda: clip_grad_norm_(model.parameters(), 0.05), fullgraph=True)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        clip()
        account.measure(loss)
        optimizer.step()
    say("clipping", account)


if __name__ == "__main__":
    model_alone()
    step_alone()
    whole_step()
    clipping()

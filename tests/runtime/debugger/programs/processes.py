"""A program with child processes: some load data, and some train by themselves."""

from __future__ import annotations

import multiprocessing
import os

import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.runtime.debugger.programs.common import data, mlp, say, train


def load(context: str) -> list[float]:
    loader = DataLoader(
        TensorDataset(*data()), batch_size=16, num_workers=1, multiprocessing_context=context
    )
    return [float(x.sum()) for x, _ in loader]


def child(kind: str) -> None:
    model = mlp()
    train(kind, model, torch.optim.Adam(model.parameters(), 0.01))


def main() -> None:
    model = mlp()
    first = load("fork")
    train("parent", model, torch.optim.SGD(model.parameters(), 0.1), between=parts)
    assert load("fork") == first == load("spawn")


def parts(step: int) -> None:
    """In the middle of the parent's training."""
    if step != 5:
        return
    pid = os.fork()
    if not pid:
        child("forked")
        os._exit(0)
    os.waitpid(pid, 0)
    process = multiprocessing.get_context("fork").Process(target=child, args=("process",))
    process.start()
    process.join()


if __name__ == "__main__":
    main()
    say("over")

"""Two processes train one model: with DDP, then the same with FSDP2. The first prints what it saw.

On a GPU, of which there may be only one, it is one process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing, nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from tests.runtime.debugger.programs.common import DEVICE, STEPS, Account, data, mlp, say, total

BACKEND, WORLD = ("gloo", 2) if DEVICE == "cpu" else ("nccl", 1)


def norms(model: nn.Module) -> dict[str, float]:
    """Of the whole gradients; all processes must ask."""
    found = {}
    for name, parameter in model.named_parameters():
        gradient: Any = parameter.grad
        whole = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
        found[name.removeprefix("module.")] = float(torch.linalg.vector_norm(whole))
    return found


def train(kind: str, model: nn.Module, rank: int) -> None:
    x, y = data()
    optimizer, account = torch.optim.AdamW(model.parameters(), 0.01), Account({})
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x[rank::WORLD]), y[rank::WORLD])
        loss.backward()
        before = total(norms(model).values())
        clip_grad_norm_(model.parameters(), 0.1)
        account.measure(loss, before=before)
        account.norms[-1] = norms(model)
        optimizer.step()
    for parameter in model.parameters():
        whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        account.more.setdefault("weights", []).append(float(whole.detach().sum()))
    if rank == 0:
        say(kind, account)


def main(rank: int, store: str) -> None:
    distributed.init_process_group(
        BACKEND, init_method=f"file://{Path(store).absolute()}", rank=rank, world_size=WORLD
    )
    train("ddp", nn.parallel.DistributedDataParallel(mlp()), rank)
    model: Any = mlp()
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    train("fsdp", model, rank)
    distributed.destroy_process_group()


if __name__ == "__main__":
    multiprocessing.start_processes(main, (sys.argv[1],), nprocs=WORLD, start_method="spawn")  # type: ignore[attr-defined]

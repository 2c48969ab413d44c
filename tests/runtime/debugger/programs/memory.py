"""Thousands of steps, without and with an optimizer, and hundreds of optimizers; how memory grows."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

STEPS = 5000
PAGE = 4096


def resident() -> int:
    """Bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def grown(act: Callable[[int], Any], times: int) -> tuple[int, int]:
    """Bytes and objects that are more at the end than after a third."""
    for turn in range(times // 3):
        act(turn)
    before = resident(), len(gc.get_objects())
    for turn in range(times // 3, times):
        act(turn)
    return resident() - before[0], len(gc.get_objects()) - before[1]


def main() -> None:
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    x = torch.randn(4, 8)

    def by_hand(_: int) -> None:
        model.zero_grad()
        model(x).square().mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad  # type: ignore[operator,misc]

    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def by_optimizer(_: int) -> None:
        optimizer.zero_grad(set_to_none=False)
        model(x[:, :]).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def another_model(_: int) -> None:
        """Of a megabyte."""
        other = nn.Linear(512, 512)
        once = torch.optim.Adam(other.parameters())
        functional.relu(other(torch.randn(2, 512))).sum().backward()
        once.step()

    kinds = {"by hand": (by_hand, STEPS), "by optimizer": (by_optimizer, STEPS), "models": (another_model, 150)}  # fmt: skip
    for kind, (act, times) in kinds.items():
        size, objects = grown(act, times)
        print(json.dumps({"kind": kind, "bytes": size, "objects": objects}))


if __name__ == "__main__":
    main()

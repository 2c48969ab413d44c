"""Trains a small model in one thread, with a debugger or none, and prints what a step costs.

Run as a file, also by interpreters that have neither this project nor its tests:

    python hooked.py mlp|cnn|transformer plain|orchestrator|every10|smdebug STEPS FOLDER [cuda]

Prints one JSON object: ``step``, CPU seconds of a training step, everything included (on a GPU
seconds of the clock); and of our own hook ``alone`` and ``norms``, CPU seconds of all that the hook
does for a step and of a bare norm of the same gradients, both driven by themselves.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

WARM_UP = 55
"""Steps before any is measured: all that is due every 50 steps has been done once."""
ROUND = 50


class Transformer(nn.Module):
    """About 10 million weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, 384)
        layer = nn.TransformerEncoderLayer(384, 6, 1536, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 5)
        self.head = nn.Linear(384, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.encoder(self.embed(x)).mean(1))
        return found


def mlp() -> tuple[nn.Module, torch.Tensor]:
    """20 layers of 256 units, a batch of 128."""
    hidden = [each for _ in range(20) for each in (nn.Linear(256, 256), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(256, 10)), torch.randn(128, 256)


def cnn() -> tuple[nn.Module, torch.Tensor]:
    """Three convolutions, a batch of 32 pictures of 32 x 32."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    layers[6:6] = [nn.MaxPool2d(2)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers), torch.randn(32, 3, 32, 32)


def transformer() -> tuple[nn.Module, torch.Tensor]:
    """A batch of 8 sequences of 96 tokens."""
    return Transformer(), torch.randint(0, 1000, (8, 96))


MODELS = {"mlp": mlp, "cnn": cnn, "transformer": transformer}


def watched(optimizer: torch.optim.Optimizer, folder: Path, *, tenth: bool) -> Callable[[], float]:
    """Put our hook into PyTorch, with all rules; return what drives it by itself for one step."""
    from orchestrator_runtime.hook import activate
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.plan import plan_from
    from orchestrator_runtime.hook.schedule import DEFAULT_INTERVALS
    from orchestrator_runtime.rules import DEFAULT_RULES

    every = {key: 10 * each.every for key, each in DEFAULT_INTERVALS.items()} if tenth else {}
    rules = [{"rule": rule} for rule in DEFAULT_RULES]
    monitor = Monitor(plan_from({"directory": str(folder), "rules": rules, "every": every}))
    adapter: Any = activate.install("torch", monitor)
    weights = [each.data for group in optimizer.param_groups for each in group["params"]]
    losses = iter(torch.tensor(1.0 + 100.0 / (step + 50)) for step in range(10**9))
    numbers = iter(range(10**9))

    def alone() -> float:
        loss = next(losses)
        begun = time.thread_time()
        adapter.signals.on_backward((loss,))
        adapter.before(optimizer, (optimizer,), {})
        spent = time.thread_time() - begun
        if next(numbers) % 10 == 0:  # else rules would see weights that never change
            torch._foreach_mul_(weights, 0.999)
        begun = time.thread_time()
        adapter.after(optimizer, (optimizer,), {})
        return spent + time.thread_time() - begun

    return alone


def with_smdebug(model: nn.Module, loss: nn.Module, folder: Path) -> None:
    """Have SageMaker's own hook save reductions of gradients and losses at every step."""
    import smdebug.pytorch as smd  # type: ignore[import-not-found]

    hook = smd.Hook(
        out_dir=str(folder / "smdebug"),
        save_config=smd.SaveConfig(save_interval=1),
        reduction_config=smd.ReductionConfig(norms=["l2"]),
        include_collections=["gradients", "losses"],
    )
    hook.register_hook(model)
    hook.register_loss(loss)


def norms(weights: Sequence[torch.Tensor]) -> float:
    """Return the CPU seconds of a bare norm of all gradients, brought over once."""
    gradients = [each.grad for each in weights if each.grad is not None]
    begun = time.thread_time()
    torch.stack(list(torch._foreach_norm(gradients))).tolist()
    return time.thread_time() - begun


def clock() -> float:
    """Return the time at which the GPU has done all that it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def main(name: str, method: str, steps: int, folder: Path, device: str = "cpu") -> None:
    """Train, and print what it cost."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = MODELS[name]()
    model, x = model.to(device), x.to(device)
    y = torch.randint(0, 10, (len(x),), device=device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    alone = None
    if method == "smdebug":
        with_smdebug(model, criterion, folder)
    elif method != "plain":
        alone = watched(optimizer, folder, tenth=method == "every10")

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    for _ in range(min(WARM_UP, steps)):
        step()
    now = time.process_time if device == "cpu" else clock
    begun = now()
    for _ in range(steps):
        step()
    found: dict[str, float] = {"step": (now() - begun) / steps}
    if alone is not None:
        weights = list(model.parameters())
        for _ in range(WARM_UP):
            alone()
            norms(weights)
        # In turns of 50 steps, so that each of them has all that is due every 50.
        rounds = [(alone, "alone"), (lambda: norms(weights), "norms")] * 4
        for contender, key in rounds:
            spent = sum(contender() for _ in range(ROUND)) / ROUND
            found[key] = min(spent, found.get(key, spent))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), *sys.argv[5:])

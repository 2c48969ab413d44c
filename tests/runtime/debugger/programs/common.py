"""What the programs of this folder share: a small task, and an account of their own."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

STEPS = 12
DEVICE = os.environ.get("ORCHESTRATOR_TEST_DEVICE", "cpu")
torch.set_num_threads(1)
if DEVICE != "cpu":
    torch.set_default_device(DEVICE)
    torch.backends.cudnn.deterministic = True


class Account:
    """The numbers of one optimizer's training, measured by the program itself."""

    def __init__(self, names: Mapping[str, Tensor]) -> None:
        self.names: Mapping[str, Tensor] = names
        self.losses: list[float] = []
        self.norms: list[dict[str, float]] = []
        self.more: dict[str, list[float]] = {}

    @classmethod
    def of(cls, model: nn.Module) -> Account:
        return cls(dict(model.named_parameters()))

    def measure(self, loss: Tensor | float, **more: float | Tensor) -> None:
        """Note a loss, and the gradients as they are."""
        self.losses.append(float(loss.detach() if isinstance(loss, Tensor) else loss))
        self.norms.append(norms_of(self.names))
        for name, value in more.items():
            self.more.setdefault(name, []).append(float(value))

    def to_json(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for parameter in self.names.values():
            plain = parameter.detach()
            digest.update(plain.reshape(-1).contiguous().view(torch.uint8).cpu().numpy().tobytes())
        return {
            "names": list(self.names),
            "losses": self.losses,
            "norms": self.norms,
            "digest": digest.hexdigest(),
            **self.more,
        }


def norms_of(names: Mapping[str, Tensor]) -> dict[str, float]:
    """The L2 norms of those gradients that are there."""
    found = {}
    for name, parameter in names.items():
        gradient = parameter.grad
        if gradient is not None and gradient.numel():
            dense = gradient.to_dense() if gradient.is_sparse else gradient
            narrow = dense.dtype in (torch.float16, torch.bfloat16)
            found[name] = float(torch.linalg.vector_norm(dense.float() if narrow else dense))
    return found


def total(norms: Iterable[float]) -> Any:
    """The norm of all."""
    return sum(norm**2 for norm in norms) ** 0.5


def say(kind: str, *accounts: Account, **more: Any) -> None:
    """Print what came of it."""
    line = {"kind": kind, "accounts": [each.to_json() for each in accounts], **more}
    print(json.dumps(line), flush=True)


def mlp(*, inputs: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))  # fmt: skip


def data(*, inputs: int = 16) -> tuple[Tensor, Tensor]:
    numbers = generator(1)
    return torch.randn(64, inputs, generator=numbers), torch.randint(
        0, 4, (64,), generator=numbers
    )


def generator(seed: int) -> torch.Generator:
    """Random numbers on the device."""
    return torch.Generator(DEVICE).manual_seed(seed)


def train(
    kind: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[], Tensor] | None = None,
    *,
    between: Callable[[int], Any] = lambda _: None,
) -> None:
    """The usual loop."""
    x, y = data()
    account = Account.of(model)
    for step in range(STEPS):
        between(step)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y) if loss_of is None else loss_of()
        loss.backward()
        account.measure(loss)
        optimizer.step()
    say(kind, account)

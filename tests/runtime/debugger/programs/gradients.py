"""What happens to losses and gradients before a step: accumulation, clipping, scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_  # by name, as most programs do
from torch.utils.checkpoint import checkpoint

from tests.runtime.debugger.programs.common import (
    DEVICE,
    STEPS,
    Account,
    data,
    mlp,
    norms_of,
    say,
    total,
    train,
)

SGD, Adam = torch.optim.SGD, torch.optim.Adam


def accumulated() -> None:
    """Four parts, each loss divided by four and, for a log, multiplied again."""
    model, (x, y) = mlp(), data()
    optimizer, account = SGD(model.parameters(), 0.1), Account.of(model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        whole = 0.0
        for part in range(4):
            loss = functional.cross_entropy(model(x[part::4]), y[part::4]) / 4
            loss.backward()
            whole += loss.item()
            loss.detach().mul_(400.0)
        account.measure(whole)
        optimizer.step()
    say("accumulated", account)


def clipped(kind: str, clip: Callable[[nn.Sequential], Any]) -> None:
    """With one optimizer; ``clip`` clips its model."""
    model, (x, y) = mlp(), data()
    optimizer, account = SGD(model.parameters(), 0.1), Account.of(model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = 20 * functional.cross_entropy(model(x), y)
        loss.backward()
        before = total(norms_of(account.names).values())
        clip(model)
        account.measure(loss, before=before)
        optimizer.step()
    say(kind, account)


def clip_twice(model: nn.Sequential) -> None:
    """To log the norm, then in earnest."""
    clip_grad_norm_(model.parameters(), float("inf"))
    clip_grad_norm_(model.parameters(), 0.5)


def clip_apart(model: nn.Sequential) -> None:
    """Two parts of the model, and the third not at all."""
    clip_grad_norm_(model[0].parameters(), 0.1)
    clip_grad_norm_(model[2].parameters(), 0.2)


def clip_in_two(model: nn.Sequential) -> None:
    """By the functions of which the usual one is made."""
    norm = torch.nn.utils.get_total_norm(
        [each.grad for each in model.parameters() if each.grad is not None]
    )
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), 0.5, norm)


def clip_away(model: nn.Sequential) -> None:
    """A norm for the log, of weights; and clipping that does nothing."""
    torch.nn.utils.get_total_norm(list(model.parameters()))
    clip_grad_norm_(model.parameters(), 1e6)


CLIPS: dict[str, Callable[[nn.Sequential], Any]] = {
    "clipped": lambda model: clip_grad_norm_(model.parameters(), 0.5),
    "clipped_list": lambda model: clip_grad_norm_(list(model.parameters()), max_norm=0.5),
    "clipped_by_largest": lambda model: clip_grad_norm_(
        model.parameters(), 0.05, norm_type=float("inf")
    ),
    "clipped_twice": clip_twice,
    "clipped_apart": clip_apart,
    "clipped_in_two": clip_in_two,
    "clipped_in_vain": clip_away,
    "clipped_by_value": lambda model: torch.nn.utils.clip_grad_value_(model.parameters(), 0.01),
}


def clipped_over_two() -> None:
    """One clipping over the parameters of two optimizers."""
    model, (x, y) = mlp(), data()
    halves = model[:3], model[3:]
    optimizers = [SGD(half.parameters(), 0.1) for half in halves]
    names = dict(model.named_parameters())
    accounts = [
        Account({name: each for name, each in names.items() if name.startswith(marks)})
        for marks in (("0", "2"), ("4",))
    ]
    for _ in range(STEPS):
        model.zero_grad()
        loss = 20 * functional.cross_entropy(model(x), y)
        loss.backward()
        before = [total(norms_of(account.names).values()) for account in accounts]
        clip_grad_norm_(model.parameters(), 0.5)
        for account, optimizer, norm in zip(accounts, optimizers, before, strict=True):
            account.measure(loss, before=norm)
            optimizer.step()
    say("clipped_over_two", *accounts)


def scaled(kind: str, make: Callable[[Iterable[Tensor]], Any], *, clip: bool = False) -> None:
    """Half precision, whose first scale is too large: those steps are left out."""
    model, (x, y) = mlp(), data()
    optimizer, account = make(model.parameters()), Account.of(model)
    scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**22)
    skips: list[float] = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast(DEVICE, dtype=torch.float16):
            loss = functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scale, before = scaler.get_scale(), 0.0
        if clip:
            scaler.unscale_(optimizer)
            before = total(norms_of(account.names).values())
            clip_grad_norm_(model.parameters(), 0.05)
        account.measure(loss, before=before)
        if not clip:
            account.norms[-1] = {name: norm / scale for name, norm in account.norms[-1].items()}
        scaler.step(optimizer)
        scaler.update()
        skips.append(scaler.get_scale() < scale)
    account.more["skips"] = skips
    say(kind, account)


def scaled_off() -> None:
    """A scaler that is there for GPUs alone, and here does nothing."""
    model, (x, y) = mlp(), data()
    optimizer, account = Adam(model.parameters(), 0.01), Account.of(model)
    scaler = torch.amp.GradScaler(DEVICE, enabled=False)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        account.measure(loss)
        scaler.step(optimizer)
        scaler.update()
    say("scaled_off", account)


def checkpointed() -> None:
    """Activations that are computed again within the backward pass, by a pass of its own."""
    model, (x, y) = mlp(), data()
    x.requires_grad_(True)
    train(
        "checkpointed",
        model,
        SGD(model.parameters(), 0.1),
        lambda: functional.cross_entropy(
            model[3:](checkpoint(model[:3], x, use_reentrant=True).tanh()), y
        ),
    )


def two_losses(kind: str) -> None:
    """One call of backward for two losses."""
    model, (x, y) = mlp(), data()
    optimizer, account = SGD(model.parameters(), 0.1), Account.of(model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        given = model(x)
        losses = functional.cross_entropy(given, y), given.square().mean().reshape(1)
        torch.autograd.backward(tensors=losses)
        account.measure(losses[0].item() + losses[1].item())
        optimizer.step()
    say(kind, account)


def evaluated() -> None:
    """Evaluation between the steps: in inference mode, and with gradients that nobody uses."""
    model, (x, y) = mlp(), data()

    def evaluate(_: int) -> None:
        model.eval()
        with torch.inference_mode():
            model(x)
        with torch.no_grad():
            functional.cross_entropy(model(x), y)
        torch.autograd.grad(functional.cross_entropy(model(x), y), list(model.parameters()))
        model.train()

    train("evaluated", model, Adam(model.parameters(), 0.01), between=evaluate)


def main() -> None:
    accumulated()
    for kind, clip in CLIPS.items():
        clipped(kind, clip)
    clipped_over_two()
    scaled("scaled", lambda p: Adam(p, 0.01))
    scaled("scaled_fused", lambda p: Adam(p, 0.01, fused=True))
    scaled("scaled_clipped", lambda p: Adam(p, 0.01), clip=True)
    scaled("scaled_fused_clipped", lambda p: Adam(p, 0.01, fused=True), clip=True)
    scaled_off()
    checkpointed()
    two_losses("two_losses")
    with torch.device(DEVICE):  # a mode, in which PyTorch's functions call themselves
        two_losses("within_a_mode")
    evaluated()


if __name__ == "__main__":
    main()

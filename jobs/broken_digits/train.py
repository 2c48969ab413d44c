"""A digits classifier that can be broken on purpose, to see the debugger stop it.

python train.py --fault sigmoid | learning_rate | nan_batch | none
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import torch
from sklearn.datasets import load_digits
from torch import nn

FAULTS = ("none", "sigmoid", "learning_rate", "nan_batch")
NAN_STEP = 120


class Residual(nn.Module):
    """One of the layers of the healthy network: what comes in is added to what comes out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output."""
        return x + torch.relu(self.linear(self.norm(x))) / 4


def build(fault: str, width: int, layers: int) -> nn.Sequential:
    """Return the network: residual layers, or plain sigmoid layers, whose gradients vanish."""
    body: list[nn.Module] = []
    for _ in range(layers):
        if fault == "sigmoid":
            body += [nn.Linear(width, width), nn.Sigmoid()]
        else:
            body.append(Residual(width))
    return nn.Sequential(nn.Linear(64, width), *body, nn.Linear(width, 10))


def save(model: nn.Module, steps: int, loss: float) -> None:
    """Write the model and what is known of it."""
    directory = Path(os.environ.get("SM_MODEL_DIR", "output"))
    directory.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), directory / "model.pt")
    (directory / "model_card.json").write_text(json.dumps({"steps": steps, "loss": loss}))


def main() -> None:
    """Train, and save the model at the end, also at a stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", choices=FAULTS, default="none")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    digits = load_digits()
    images = torch.tensor(digits.data / 8 - 1, dtype=torch.float32, device=device)
    labels = torch.tensor(digits.target, device=device)
    model = build(args.fault, args.width, args.layers).to(device)
    rate = 100.0 if args.fault == "learning_rate" else 0.05
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)

    steps, last = 0, float("nan")

    def stopped(_signum: int, _frame: FrameType | None) -> None:
        save(model, steps, last)
        print(f"stopped after {steps} steps; the model is saved", flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stopped)
    while steps < args.steps:
        chosen = torch.randint(0, len(images), (64,)).to(device)
        batch = images[chosen].clone()
        if args.fault == "nan_batch" and steps == NAN_STEP:
            batch[0, 0] = float("nan")
        loss = nn.functional.cross_entropy(model(batch), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps, last = steps + 1, loss.item()
        if steps % 20 == 0:
            print(f"step={steps} loss={last:.4f}", flush=True)
    save(model, steps, last)
    with torch.no_grad():
        accuracy = (model(images).argmax(1) == labels).float().mean().item()
    print(f"accuracy={accuracy:.4f}")


if __name__ == "__main__":
    main()

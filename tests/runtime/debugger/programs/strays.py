"""A body and a head; the argument says what the optimizers have: ``head``, ``both``, ``frozen``."""

import sys

import torch
from torch import nn

kind = sys.argv[1]
torch.manual_seed(0)
body, head = nn.Linear(8, 24), nn.Linear(24, 8)
model = nn.Sequential(body, nn.Tanh(), head)
optimizers = [torch.optim.SGD(head.parameters(), 0.02)]
if kind == "both":
    optimizers.append(torch.optim.SGD(body.parameters(), 0.02))
if kind == "frozen":
    body.requires_grad_(False)
for _ in range(110):
    loss = nn.functional.cross_entropy(model(torch.randn(16, 8)), torch.randint(8, (16,)))
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
print(loss.item())

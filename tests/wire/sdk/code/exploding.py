"""A learning rate that no model survives; it would go on for minutes."""

import time

import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e25)
for step in range(3000):
    loss = (model(torch.ones(8, 4)) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step > 20:
        time.sleep(0.1)

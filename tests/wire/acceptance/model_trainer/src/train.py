"""A network that learns to multiply, as it is trained on SageMaker with ModelTrainer."""

import argparse
import os
from pathlib import Path

import numpy as np
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--hidden", type=int)
parser.add_argument("--learning_rate", type=float)
args = parser.parse_args()

torch.manual_seed(0)
table = np.loadtxt(Path(os.environ["SM_CHANNEL_TRAIN"], "points.csv"), delimiter=",")
data = torch.tensor(table, dtype=torch.float32)
network = torch.nn.Sequential(
    torch.nn.Linear(2, args.hidden), torch.nn.Tanh(), torch.nn.Linear(args.hidden, 1)
)
optimizer = torch.optim.Adam(network.parameters(), args.learning_rate)
loss = torch.zeros(())
for epoch in range(args.epochs):
    for batch in data[torch.randperm(len(data))].split(64):
        loss = torch.nn.functional.mse_loss(network(batch[:, :2]), batch[:, 2:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 10 == 9:
        print(f"epoch={epoch + 1} loss={loss.item():.5f}", flush=True)
torch.save(network.state_dict(), Path(os.environ["SM_MODEL_DIR"], "network.pt"))

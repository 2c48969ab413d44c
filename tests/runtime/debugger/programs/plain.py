"""The plainest training."""

import torch

from tests.runtime.debugger.programs.common import mlp, train

model = mlp()
train("plain", model, torch.optim.SGD(model.parameters(), 0.1))

"""A program that calls the debugger itself, in a job that is watched already."""

import torch
from orchestrator_runtime.hook import save_scalar, watch
from torch import nn

inner, other = nn.Linear(3, 1), nn.Linear(3, 1)
outer = nn.ModuleDict({"head": inner})
optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (inner, other)]
names = nn.ModuleDict({"mine": inner})
with watch(names, optimizers[0], rules=["AllZero"], stop_on=["all"], on_finding=print) as watching:
    for model, optimizer in zip((inner, other), optimizers, strict=True):
        save_scalar("score", 7)
        (model(torch.ones(2, 3)).sum() * float("nan")).backward()
        optimizer.step()
    print(watching.steps, [finding.rule for finding in watching.findings], watching.stopped)
print(watching.trace_path)

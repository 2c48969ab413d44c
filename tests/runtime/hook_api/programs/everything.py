"""Trains in several ways and prints what came of each, to the bit; the argument is how many steps."""

import hashlib
import os
import sys

import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy

DEVICE = os.environ.get("ORCHESTRATOR_TEST_DEVICE", "cpu")
torch.set_default_device(DEVICE)
torch.backends.cudnn.deterministic = True


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8 * 36, 32)
        self.tanh = nn.Tanh()
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(32, 4)
        self.words = nn.Embedding(10, 32)

    def forward(self, images, words):
        hidden = self.act(self.norm(self.conv(images))).flatten(1)
        hidden = self.drop(self.tanh(self.fc(hidden))) + self.words(words).mean(1)
        return self.out(torch.sigmoid(hidden))


def batch():
    return (
        torch.randn(16, 3, 8, 8),
        torch.randint(0, 10, (16, 5)),
        torch.randint(0, 4, (16,)),
    )


def plain(model, optimizer, steps):
    for _ in range(steps):
        images, words, labels = batch()
        optimizer.zero_grad()
        cross_entropy(model(images, words), labels).backward()
        optimizer.step()


def accumulated(model, optimizer, steps):
    for _ in range(steps):
        for _ in range(2):
            images, words, labels = batch()
            scores = model(images, words)
            (functional.nll_loss(input=scores.log_softmax(1), target=labels) / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)


def scaled(model, optimizer, steps):
    scaler = torch.amp.GradScaler(DEVICE, init_scale=1024.0)
    for step in range(steps):
        images, words, labels = batch()
        optimizer.zero_grad()
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            loss = nn.CrossEntropyLoss()(model(images, words), labels)
        if step == 1:
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def digest(model):
    total = hashlib.sha256()
    for value in model.state_dict().values():
        total.update(value.float().cpu().numpy().tobytes())
    total.update(torch.get_rng_state().numpy().tobytes())
    if DEVICE != "cpu":
        total.update(torch.get_device_module(DEVICE).get_rng_state().numpy().tobytes())
    return total.hexdigest()


for train in (plain, accumulated, scaled):
    torch.manual_seed(3)
    net = Net()
    train(net, torch.optim.AdamW(net.parameters(), lr=0.01, fused=True), int(sys.argv[1]))
    print(train.__name__, digest(net))

torch.manual_seed(3)
half = nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 4)).bfloat16()
sgd = torch.optim.SGD(half.parameters(), lr=0.1)
for _ in range(int(sys.argv[1])):
    sgd.zero_grad()
    nn.MSELoss()(half(torch.randn(4, 8).bfloat16()), torch.zeros(4, 4).bfloat16()).backward()
    sgd.step()
print("half", digest(half))

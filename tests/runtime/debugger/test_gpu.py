"""On a GPU: one copy a step, nothing that waits for the device, the same numbers.

Run by hand where there is one: ``pytest -m gpu tests/runtime/debugger/test_gpu.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime.hook import watch
from orchestrator_runtime.trace import read_trace

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.torch,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU"),
]
STEPS = 60


def made() -> tuple[Any, Any, Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    x, y = torch.randn(32, 64), torch.randint(0, 10, (32,))
    model = model.cuda()
    return model, torch.optim.Adam(model.parameters(), lr=1e-3), x.cuda(), y.cuda()


def train(model: Any, optimizer: Any, x: Any, y: Any, steps: int = STEPS) -> list[Any]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def test_training_is_the_same_and_so_is_what_is_recorded(tmp_path: Path) -> None:
    bare = [float(loss) for loss in train(*made())]
    model, optimizer, x, y = made()
    with watch(model, optimizer, directory=tmp_path):
        losses = [float(loss) for loss in train(model, optimizer, x, y)]
    assert losses == bare
    (path,) = tmp_path.iterdir()
    steps = read_trace(str(path)).steps
    assert [step.scalars["loss"] for step in steps] == pytest.approx(losses)
    last = [float(each.grad.norm()) for each in model.parameters()]
    assert list(steps[-1].blocks["gradients/l2"].values) == pytest.approx(last, rel=1e-5)


def test_nothing_waits_for_the_device(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, optimizer, x, y = made()
    with watch(model, optimizer, directory=tmp_path) as watching:
        train(model, optimizer, x, y)
        torch.cuda.set_sync_debug_mode("error")
        try:
            train(model, optimizer, x, y)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert watching.steps == 2 * STEPS
    assert "could not be recorded" not in capfd.readouterr().err


def test_a_step_is_brought_over_in_one_copy(tmp_path: Path) -> None:
    model, optimizer, x, y = made()
    with watch(model, optimizer, directory=tmp_path):
        train(model, optimizer, x, y, 2)
        torch.cuda.synchronize()
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            train(model, optimizer, x, y, 5)
            torch.cuda.synchronize()
    copies = [event for event in profile.events() if "DtoH" in event.name]
    assert len(copies) == 5

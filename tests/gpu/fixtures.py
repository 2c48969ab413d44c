"""A pytest plugin in place of the suite's own, which needs more than PyTorch and pytest."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import settings


@pytest.fixture(scope="session")
def trainers_python() -> Path:
    """This Python, if it has the libraries whose loops are tested."""
    missing = [name for name in ("lightning", "transformers", "accelerate") if not find_spec(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return Path(sys.executable)


def pytest_configure(config: pytest.Config) -> None:
    """Know the suite's markers; tests make their tensors on the GPU."""
    settings.register_profile("gpu", deadline=None)  # its first call of anything takes long
    settings.load_profile("gpu")
    torch.set_default_device(os.environ["ORCHESTRATOR_TEST_DEVICE"])
    for name in ("torch", "gpu", "trainers", "slow", "timeout"):
        config.addinivalue_line("markers", name)

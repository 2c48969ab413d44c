"""What the markers docker, tensorflow, torch, trainers, browser, awscli, sagemaker2 and sagemaker3 need, and the reason a test is skipped without it."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.setup import apt, engine
from tests.setup.base_image import has_image
from tests.setup.images import BASE, PYTORCH, TENSORFLOW

ROOT = Path(__file__).resolve().parent.parent.parent
AWS_COMMAND = ROOT / ".venv-awscli" / "bin" / "aws"
SAGEMAKER2_PYTHON = ROOT / ".venv-sagemaker2" / "bin" / "python"
SAGEMAKER3_PYTHON = ROOT / ".venv-sagemaker3" / "bin" / "python"
TENSORFLOW_PYTHON = ROOT / ".venv-tensorflow" / "bin" / "python"
TRAINERS_PYTHON = ROOT / ".venv-trainers" / "bin" / "python"


@functools.cache
def no_docker() -> str | None:
    """Why Docker tests cannot run."""
    if not engine.answers():
        return "no Docker engine answers; `make test` sets one up where it may"
    absent = [name for name in (BASE, PYTORCH, TENSORFLOW) if not has_image(f"{name}:latest")]
    return f"no image {', '.join(absent)}; `make test` builds them" if absent else None


def no_postgres() -> str | None:
    """Why PostgreSQL tests cannot run."""
    if apt.find_program("initdb"):
        return None
    return "PostgreSQL's server programs are not installed; `make test` installs them where it may"


def no_tensorflow() -> str | None:
    """Why tests that run the TensorFlow environment cannot run."""
    return None if TENSORFLOW_PYTHON.exists() else "no .venv-tensorflow; `make test` makes it"


def no_torch() -> str | None:
    """Why tests that import PyTorch cannot run."""
    return None if importlib.util.find_spec("torch") else "PyTorch is not installed"


def no_trainers() -> str | None:
    """Why tests that run Lightning, Transformers or Accelerate cannot run."""
    return None if TRAINERS_PYTHON.exists() else "no .venv-trainers; `make test` makes it"


def no_browser() -> str | None:
    """Why tests of pages cannot run."""
    if apt.find_program("chromium"):
        return None
    return "Chromium is not installed; `make test` installs it where it may"


def no_awscli() -> str | None:
    """Why tests that run the aws command cannot run."""
    return None if AWS_COMMAND.exists() else "no .venv-awscli; `make test` makes it"


def no_sagemaker2() -> str | None:
    """Why tests that run the SageMaker SDK v2 cannot run."""
    return None if SAGEMAKER2_PYTHON.exists() else "no .venv-sagemaker2; `make test` makes it"


def no_sagemaker3() -> str | None:
    """Why tests that run the SageMaker SDK v3 cannot run."""
    return None if SAGEMAKER3_PYTHON.exists() else "no .venv-sagemaker3; `make test` makes it"


NEEDS: dict[str, Callable[[], str | None]] = {
    "docker": no_docker,
    "postgres": no_postgres,
    "tensorflow": no_tensorflow,
    "torch": no_torch,
    "trainers": no_trainers,
    "browser": no_browser,
    "awscli": no_awscli,
    "sagemaker2": no_sagemaker2,
    "sagemaker3": no_sagemaker3,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names something that is not here."""
    for marker, missing in NEEDS.items():
        if item.get_closest_marker(marker) and (reason := missing()):
            pytest.skip(reason)


@pytest.fixture(scope="session")
def aws_command() -> Path:
    """The aws command; mark the test `awscli`."""
    return AWS_COMMAND


@pytest.fixture(scope="session")
def tensorflow_python() -> Path:
    """The interpreter with TensorFlow; mark the test `tensorflow`."""
    return TENSORFLOW_PYTHON


@pytest.fixture(scope="session")
def trainers_python() -> Path:
    """The interpreter with Lightning, Transformers and Accelerate; mark the test `trainers`."""
    return TRAINERS_PYTHON

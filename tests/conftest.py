"""What holds for every test: plugins, a clean environment, and no connection that leaves this machine."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.plugins.needs",
    "tests.plugins.skips",
    "tests.plugins.engine",
    "tests.plugins.postgres",
    "tests.plugins.leaks",
    "orchestrator.testing.plugin",
]

# No test passes or fails by the clock; with CI set Hypothesis has such a profile by itself.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if "CI" not in os.environ:
    settings.load_profile("here")

# Variables of the developer's shell that would change what a test sees.
OURS = ("ORCHESTRATOR_", "ORCH_", "AWS_", "SAGEMAKER_", "SM_", "TRAINING_", "OPTUNA_")
LAUNCHER = {"MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "TF_CONFIG"}
KEPT = ("ORCHESTRATOR_TEST_",)


def inherited(name: str) -> bool:
    """Whether a test must not see this variable of the shell it was started from."""
    return (name.startswith(OURS) or name in LAUNCHER) and not name.startswith(KEPT)


@pytest.fixture(autouse=True, scope="session")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start the session without inherited settings; a test that names no home gets one under pytest's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if inherited(name)]:
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("ORCHESTRATOR_HOME", str(tmp_path_factory.getbasetemp() / "unnamed-home"))
        yield


@pytest.fixture(autouse=True)
def kept_environment() -> Iterator[None]:
    """Put back what a test changed in os.environ without saying so."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def no_log_records() -> Iterator[None]:
    """Log nothing: of tests that provoke faults for minutes pytest would keep gigabytes of records."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def refuse_the_internet(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: this process connects to loopback addresses and local sockets only."""
    if event != "socket.connect":
        return
    address = arguments[1]
    if not isinstance(address, tuple) or str(address[0]) in {"localhost", "::1"}:
        return
    if not str(address[0]).startswith("127."):
        raise ConnectionRefusedError(f"tests connect to loopback addresses only, got {address!r}")


sys.addaudithook(refuse_the_internet)

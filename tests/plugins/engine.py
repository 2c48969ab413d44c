"""Fixtures of Docker tests. Mark them `docker`: the engine and the images are then there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.setup import engine, images


@pytest.fixture(scope="session")
def base_image() -> str:
    """Debian with Python and pip, no framework."""
    return f"{images.BASE}:latest"


@pytest.fixture(scope="session")
def pytorch_image() -> str:
    """The base image with PyTorch (CPU), numpy and scikit-learn."""
    return f"{images.PYTORCH}:latest"


@pytest.fixture(scope="session")
def tensorflow_image() -> str:
    """The base image with TensorFlow (CPU), Keras 3 and scikit-learn."""
    return f"{images.TENSORFLOW}:latest"


class RestartableEngine:
    """The engine that the test set-up started itself: a test may stop and start it."""

    def stop(self) -> None:
        """End the engine and with it every container; returns when it is gone."""
        engine.stop()

    def start(self) -> None:
        """Start it again; returns when it answers."""
        engine.start()

    def pid(self) -> int:
        """Process id of dockerd, for a test that pauses it."""
        pid = engine.OwnEngine.here().pid()
        assert pid is not None, "the engine runs"
        return pid


@pytest.fixture
def own_engine() -> Iterator[RestartableEngine]:
    """Our own engine, running again after the test; skipped on a machine whose engine is not ours to stop."""
    if engine.OwnEngine.here().pid() is None:
        pytest.skip("the Docker engine of this machine was not started by the tests")
    yield RestartableEngine()
    engine.start()

"""pytest fixtures for suites that train: a fresh home per test, nothing left behind.

Use them with ``pytest_plugins = ["orchestrator.testing.plugin"]`` in your ``conftest.py``.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from orchestrator.embedded import LocalTransport
from orchestrator.errors import InvalidState
from orchestrator.home import prepare_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.sdk.transport import Transport

END_SECONDS = 30.0
PAGE_ROWS = 1000


@pytest.fixture
def orchestrator_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh home directory that SDK and CLI use during one test.

    Its driver is ended afterwards; jobs that a failing test left running are killed.
    """
    home = prepare_home(tmp_path / "home")
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "0.2")
    monkeypatch.delenv("ORCHESTRATOR_URL", raising=False)
    yield home
    end_jobs(home)
    end_driver(home)


@pytest.fixture
def orchestrator_transport(orchestrator_home: Path) -> Iterator[LocalTransport]:
    """A transport to a fresh home."""
    transport = LocalTransport(orchestrator_home)
    yield transport
    transport.close()


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_jobs(home: Path) -> None:
    """Stop every job of a home that still runs, without grace, and wait for it."""
    transport = LocalTransport(home)
    try:
        stop_jobs(transport)
        for job in transport.list_jobs(limit=PAGE_ROWS)["jobs"]:
            _await_end(transport, job["name"])
    finally:
        transport.close()


def stop_jobs(transport: Transport) -> None:
    """Ask every job that has not ended to stop, without grace.

    Tuning jobs come first: from then on none begins another training job.
    """
    for job in transport.tunings.list(limit=PAGE_ROWS)["jobs"]:
        if job["ended_at"] is None:
            transport.tunings.stop(job["spec"]["tuning_job_name"])
    for job in transport.list_jobs(limit=PAGE_ROWS)["jobs"]:
        if job["ended_at"] is None:
            with suppress(InvalidState):  # it has ended since it was listed
                transport.stop(job["name"], grace_seconds=0)


def _await_end(transport: LocalTransport, name: str) -> None:
    deadline = time.monotonic() + END_SECONDS
    record = transport.describe(name)
    while record["ended_at"] is None and time.monotonic() < deadline:
        record = transport.wait(name, after=record["revision"], timeout_seconds=1)


def driver_pid(home: Path) -> int | None:
    """Return the process id of a home's driver; None when nobody drives."""
    from orchestrator.service.driving import DriverLock  # noqa: PLC0415  # not for clients

    if not DriverLock.is_held(home):
        return None
    text = (home / "driver.lock").read_text().strip()
    return int(text) if text else None


def end_driver(home: Path) -> None:
    """End a home's driver and wait until it is gone; running jobs go on."""
    pid = driver_pid(home)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    while driver_pid(home) == pid:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)

"""An engine that is stopped, started again and paused under the back end (faults 14 and 15).

It is one of its own, without a bridge, so that nobody else's containers suffer.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.backends.base import AttemptContext, HostStatus
from orchestrator.errors import BackendError
from orchestrator.testing.backend_contract import Program, Wish, exit_of, stop_request
from tests.docker.backend_harness import DockerHarness, docker, docker_harness
from tests.setup import apt

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an engine"),
]

ISOLATED = {"enable_network_isolation": True}

CALL_SECONDS = 3
"""How long the engine may take for one answer."""


class PrivateEngine:
    """A dockerd with its own socket and data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder}/s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of dockerd."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        # In a network of its own: a dockerd without a bridge removes the docker0 that it finds.
        command = ["unshare", "--net", "--", apt.find_program("dockerd") or "dockerd"]
        command += [f"--host={self.url}"]
        command += [f"--data-root={self._folder}/data", f"--exec-root={self._folder}/exec"]
        command += [f"--pidfile={self._folder}/pid", "--bridge=none", "--iptables=false"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail((self._folder / "log").read_text()[-2000:])
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether it answers."""
        command = ["docker", "-H", self.url, "version"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def stop(self) -> None:
        """End it, and with it every container."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def __call__(self, *words: str) -> str:
        """Output of the docker command on this engine."""
        return docker("-H", self.url, *words)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[PrivateEngine]:
    """An engine with the base image."""
    # Not in pytest's folder: a socket's path must be short.
    folder = tmp_path_factory.mktemp("e")
    private = PrivateEngine(folder)
    private.start()
    saved = subprocess.Popen(["docker", "save", base_image], stdout=subprocess.PIPE)
    subprocess.run(
        ["docker", "-H", private.url, "load"], stdin=saved.stdout, check=True, capture_output=True
    )
    assert saved.stdout is not None
    saved.stdout.close()
    saved.wait()
    yield private
    private.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(tmp_path: Path, engine: PrivateEngine, base_image: str) -> Iterator[DockerHarness]:
    """A home on that engine."""
    with docker_harness(
        tmp_path, base_image, base_url=engine.url, timeout_seconds=CALL_SECONDS
    ) as harness:
        yield harness


def begin(home: DockerHarness, program: Program) -> AttemptContext:
    """Start a program and wait until it runs."""
    context = home.context(Wish(program, spec=ISOLATED))
    home.start(context)
    if program is not Program.FAILS:
        home.ready(context)
    return context


def test_a_hanging_engine_stops_nothing_but_itself(home: DockerHarness, engine: PrivateEngine):
    living, ended, killed = (
        begin(home, program) for program in (Program.WAITS, Program.SUCCEEDS, Program.WAITS)
    )
    home.ended(ended, "algo-1", None)
    engine("kill", home.container(killed))
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        look_at_a_hanging_engine(home, living, ended, killed)
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    assert home.ended(killed, "algo-1", None).status is HostStatus.LOST
    home.backend.stop(living, "algo-1", None, stop_request())
    home.ended(living, "algo-1", None)
    for context in (living, ended, killed):
        home.backend.release(context)


def look_at_a_hanging_engine(
    home: DockerHarness, living: AttemptContext, ended: AttemptContext, killed: AttemptContext
) -> None:
    """What does not need the engine is seen at once; the rest takes one time limit in all."""
    assert home.backend.observe(ended, "algo-1", None).status is HostStatus.EXITED
    assert home.backend.observe(living, "algo-1", None).status is HostStatus.RUNNING
    began = time.monotonic()
    for _ in range(20):
        assert home.backend.observe(killed, "algo-1", None).status is HostStatus.UNREACHABLE
    with pytest.raises(BackendError):
        home.backend.release(ended)
    assert time.monotonic() - began < 20 * CALL_SECONDS  # far less than a limit for each call


def test_a_restarted_engine_is_waited_for_and_its_victims_are_lost(
    home: DockerHarness, engine: PrivateEngine
):
    context, done = begin(home, Program.WAITS), begin(home, Program.FAILS)
    home.ended(done, "algo-1", None)
    engine.stop()
    seen = home.backend.observe(done, "algo-1", None)
    assert exit_of(seen)["exit_code"] == 3
    seen = home.backend.observe(context, "algo-1", None)
    # `dockerd` stops its containers as it ends: the supervisor may have had the time to record it.
    assert seen.status in {HostStatus.UNREACHABLE, HostStatus.EXITED}
    engine.start()
    seen = home.ended(context, "algo-1", None)
    if seen.exit is not None:
        assert seen.exit["stop_intent"] == "interrupted"
    again = begin(home, Program.SUCCEEDS)
    assert exit_of(home.ended(again, "algo-1", None))["exit_code"] == 0
    for each in (context, done, again):
        home.backend.release(each)
    assert engine("ps", "-aq") == ""

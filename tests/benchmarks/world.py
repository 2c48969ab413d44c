"""Fresh homes with a driver or a service, the script that is trained, and the end of it all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from orchestrator import ModelTrainer, connect
from orchestrator.backends.claims import living_in, living_supervisor
from orchestrator.embedded import LocalTransport, start_driver
from orchestrator.home import prepare_home
from orchestrator.sdk.transport import Transport
from orchestrator.testing.plugin import driver_pid, end_driver
from tests.benchmarks.measure import eventually
from tests.benchmarks.processes import is_gone

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
ORCHESTRATOR = str(BIN / "orchestrator")
SCRIPT = 'print("hello")\n'
LINGER_SECONDS = "900"


def clean_variables() -> dict[str, str]:
    """The environment without settings of ours, with this interpreter first on the path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
    kept["PATH"] = f"{BIN}{os.pathsep}{kept['PATH']}"
    return kept


class World:
    """A home of its own and a one-line script."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))
        self.home = prepare_home(self.folder / "home")
        self.source = self.folder / "source"
        self.source.mkdir()
        self.script = self.source / "hello.py"
        self.script.write_text(SCRIPT, encoding="utf-8")

    def variables(self, **more: str) -> dict[str, str]:
        """Environment of programs that use this home."""
        ours = {
            "ORCHESTRATOR_HOME": str(self.home),
            "ORCHESTRATOR_DRIVER_LINGER_SECONDS": LINGER_SECONDS,
        }
        return {**clean_variables(), **ours, **more}

    def trainer(self, transport: Transport, script: Path | None = None) -> ModelTrainer:
        """Return a trainer of the script."""
        return ModelTrainer(source_code=str(script or self.script), transport=transport)

    @property
    def driver(self) -> int:
        """Process id of who drives."""
        found = driver_pid(self.home)
        assert found is not None
        return found

    def close(self) -> None:
        """End driver and jobs, remove everything."""
        driver = driver_pid(self.home)
        if driver is not None:
            end_driver(self.home)
            eventually(lambda: is_gone(driver))
        end_supervisors(self.home)
        shutil.rmtree(self.folder)


@contextmanager
def fresh(folder: Path) -> Iterator[World]:
    """A world that ends with the block."""
    world = World(folder)
    try:
        yield world
    finally:
        world.close()


@contextmanager
def settings(**values: str) -> Iterator[None]:
    """Set ORCHESTRATOR_* variables of this process, and so of what it starts."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("ORCHESTRATOR_")]:
        del os.environ[name]
    os.environ["ORCHESTRATOR_DRIVER_LINGER_SECONDS"] = LINGER_SECONDS
    os.environ.update({f"ORCHESTRATOR_{key.upper()}": value for key, value in values.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def driven(world: World, **values: str) -> Iterator[LocalTransport]:
    """A transport to a home whose driver runs."""
    with settings(**values):
        start_driver(world.home)
        transport = LocalTransport(world.home)
        try:
            yield transport
        finally:
            transport.close()


@contextmanager
def served(world: World, **values: str) -> Iterator[tuple[Transport, int]]:
    """A transport to `orchestrator serve` by its address, and the service's process id."""
    with settings(**values):
        log = world.folder / "serve.out"
        command = [ORCHESTRATOR, "serve", "--json", "--port", "0", "--home", str(world.home)]
        with (
            log.open("w") as output,
            subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL) as process,
        ):
            try:
                text = eventually(
                    lambda: log.read_text("utf-8").endswith("}\n") and log.read_text("utf-8")
                )
                with closing(connect(json.loads(text)["url"], home=world.home)) as transport:
                    yield transport, process.pid
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def supervisors(home: Path) -> dict[int, Path]:
    """Return the process ids of a home's living supervisors here, and their host directories.

    Supervisors in containers have numbers of their own, which mean other processes here.
    """
    found = {}
    for attempts in home.glob("jobs/*/attempts"):
        for living in living_in(attempts):
            pid = living_supervisor(living.directory)
            if pid is not None and not living.in_container:
                found[pid] = living.directory
    return found


def end_supervisors(home: Path) -> None:
    """End every job of a home that nobody drives any more."""
    for pid in supervisors(home):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    eventually(lambda: not supervisors(home))

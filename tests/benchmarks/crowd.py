"""A driver whose docker back end is the contract-tested fake: `python -m tests.benchmarks.crowd HOME`.

What the fake engine runs is in its memory; a driver that follows a killed one finds it there again
because the names are in a file beside the home. Processes are real.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from orchestrator_runtime import contract

from orchestrator.home import DRIVER_SOCKET, socket_path
from orchestrator.service.assemble import open_service
from orchestrator.service.background import run_driver
from orchestrator.settings import Settings
from orchestrator.testing.fake_backend import FakeBackend, FakeEngine, FakeHost, Script

RECORDED = "recorded.json"
RUNS = Script(exit_code=None)


def engine(home: Path) -> FakeEngine:
    """Return a fake engine in which the recorded hosts run."""
    made = FakeEngine(script_for=lambda _context, _host: RUNS)
    recorded = home.parent / RECORDED
    for name in json.loads(recorded.read_text("utf-8")) if recorded.exists() else ():
        host = FakeHost((name, 1, "algo-1"), home, RUNS, started=True)
        host.phases.append({"phase": contract.PHASE_TRAINING, "at": 0.0})
        made.hosts[host.key] = host
    return made


def main(home: Path) -> int:
    """Drive the home."""
    service = open_service(Settings(home=home))
    service.backends["docker"] = FakeBackend(engine(home), "docker")
    return run_driver(service, socket_path(home, DRIVER_SOCKET), on_ready=lambda: None)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

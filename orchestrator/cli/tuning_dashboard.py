"""Shows a tuning job in optuna-dashboard until Ctrl-C."""

from __future__ import annotations

import importlib.util
import json
import subprocess  # argv lists only
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orchestrator.cli import exits
from orchestrator.cli.output import note, print_json
from orchestrator.errors import InvalidSpec, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.sdk.tuning_job import TuningJob
    from orchestrator.spec.tuned import TuningOverview

PROGRAM = (sys.executable, "-m", "orchestrator.tuner.dashboard")


def check_dashboard() -> None:
    """Refuse before anything begins what cannot be shown.

    Raises:
        InvalidSpec: optuna-dashboard is not installed.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise InvalidSpec(
            "--dashboard needs optuna-dashboard, which is not installed here; install it with: "
            "pip install 'orchestrator[dashboard]'"
        )


def show_dashboard(job: TuningJob, *, as_json: bool) -> int:
    """Show a tuning job, up to date while it runs, until Ctrl-C; return the exit code.

    Args:
        job: The tuning job, running or ended.
        as_json: Say the address as JSON.

    Raises:
        OrchestratorError: The dashboard does not start, or it has ended.
    """
    with _dashboard() as process, suppress(KeyboardInterrupt):
        _send(process, job, job.overview)
        _tell(_address(process), as_json=as_json)
        job.wait(on_change=lambda overview: _send(process, job, overview))
        process.wait()
        raise _ended(process)
    return exits.DONE


@contextmanager
def _dashboard() -> Iterator[subprocess.Popen[bytes]]:
    """Run the dashboard; it ends with its input, also when this process is killed."""
    process = subprocess.Popen(
        PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        with suppress(OSError):  # what was left to be written has no reader
            process.communicate()


def _send(process: subprocess.Popen[bytes], job: TuningJob, overview: TuningOverview) -> None:
    letter = {
        "record": overview.record.model_dump(mode="json"),
        "jobs": [
            each.model_dump(mode="json") for each in job.training_jobs(sort_by="CreationTime")
        ],
    }
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(letter).encode() + b"\n")
        process.stdin.flush()
    except OSError as error:
        raise _ended(process) from error


def _address(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise _ended(process)
    address: str = json.loads(line)["url"]
    return address


def _ended(process: subprocess.Popen[bytes]) -> OrchestratorError:
    return OrchestratorError(
        f"the dashboard must run until Ctrl-C, it ended with {process.wait()}; it said why above"
    )


def _tell(address: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"event": "dashboard", "url": address})
        return
    print(address, flush=True)
    note("the tuning job goes on by itself; Ctrl-C ends the dashboard")

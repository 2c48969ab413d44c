"""Has a tuning job looked at by another process, which ends with its answer.

Optuna, SciPy, scikit-learn and Plotly take a service seconds and hundreds of megabytes.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess  # argv lists only
import sys
import threading
from typing import TYPE_CHECKING, Any

from orchestrator.errors import (
    InvalidState,
    LimitExceeded,
    OrchestratorError,
    Unavailable,
    error_from_code,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.spec.tuned import TunedJob, TuningJobRecord

logger = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-m", "orchestrator.tuner.analysis")
LONGEST_SECONDS = 50.0
"""Less than the minute that clients wait for an answer."""
LAST_WORDS = 300


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


class Analyst:
    """Asks a process for each question, one at a time: each takes much memory. Thread-safe.

    Args:
        program: What answers.
        longest_seconds: How long an answer may take.
        is_installed: Whether a package is there.
    """

    def __init__(
        self,
        program: Sequence[str] = PROGRAM,
        longest_seconds: float = LONGEST_SECONDS,
        is_installed: Callable[[str], bool] = _is_installed,
    ) -> None:
        self._program = tuple(program)
        self._longest_seconds = longest_seconds
        self._is_installed = is_installed
        self._turn = threading.Lock()
        self._state = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def importance(
        self, record: TuningJobRecord, jobs: Sequence[TunedJob], objective: str
    ) -> dict[str, float]:
        """Return shares of hyperparameters that sum to 1, the largest first.

        Args:
            record: The tuning job.
            jobs: All of its training jobs, checked by ``results.check_importance``.
            objective: Name of its metric.

        Raises:
            LimitExceeded: It takes too long.
        """
        return self._ask(record, jobs, ask="importance", objective=objective)  # type: ignore[no-any-return]

    def report(self, record: TuningJobRecord, jobs: Sequence[TunedJob]) -> str:
        """Return a page about a tuning job, as HTML that needs nothing else.

        Args:
            record: The tuning job.
            jobs: All of its training jobs.

        Raises:
            InvalidState: Plotly is not installed.
            LimitExceeded: It takes too long.
        """
        if not self._is_installed("plotly"):
            raise InvalidState(
                "a report of a tuning job needs plotly, which is not installed where the service "
                "runs; install it there: pip install 'orchestrator[report]'"
            )
        return self._ask(record, jobs, ask="report")  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process, if one is at work: who asked gets an error. Idempotent."""
        with self._state:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()

    def _ask(self, record: TuningJobRecord, jobs: Sequence[TunedJob], **asked: Any) -> Any:
        letter = {
            "record": record.model_dump(mode="json"),
            "jobs": [job.model_dump(mode="json") for job in jobs],
            **asked,
        }
        try:
            with self._turn:
                done = self._run(json.dumps(letter).encode())
        except subprocess.TimeoutExpired as error:
            raise LimitExceeded(
                f"the {asked['ask']} may take {self._longest_seconds:g} s, that of {record.name!r} "
                f"with its {len(jobs)} training jobs took longer; try again when less runs here"
            ) from error
        answer = _read(done.stdout) if done.returncode == 0 else None
        if answer is None:
            raise _died(done, asked["ask"])
        if "error" in answer:
            raise error_from_code(answer["error"]["code"], answer["error"]["message"])
        return answer["result"]

    def _run(self, letter: bytes) -> subprocess.CompletedProcess[bytes]:
        pipe = subprocess.PIPE
        with self._state:
            if self._is_closed:
                raise Unavailable("the service is ending; ask the next one")
            process = subprocess.Popen(self._program, stdin=pipe, stdout=pipe, stderr=pipe)
            self._process = process
        with process:
            try:
                said, complained = process.communicate(letter, self._longest_seconds)
            finally:
                process.kill()
        return subprocess.CompletedProcess(self._program, process.returncode, said, complained)


def _read(answer: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(answer)  # type: ignore[no-any-return]
    except ValueError:
        return None


def _died(done: subprocess.CompletedProcess[bytes], what: str) -> OrchestratorError:
    said = done.stderr.decode("utf-8", "replace").strip()
    logger.error("the process that makes the %s ended with %d: %s", what, done.returncode, said)
    last = said.splitlines()[-1][:LAST_WORDS] if said else "it said nothing"
    return OrchestratorError(
        f"the process that makes the {what} must end with an answer, it ended with "
        f"{done.returncode}: {last}; the log of the service says more"
    )

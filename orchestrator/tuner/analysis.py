"""The process that looks at a tuning job as a whole: reads one letter, writes one answer, ends.

    python -m orchestrator.tuner.analysis

Optuna and Plotly are loaded here and not in the service.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from orchestrator import __version__
from orchestrator.clock import SystemClock
from orchestrator.errors import OrchestratorError
from orchestrator.report.tuning import TuningReport, render_tuning
from orchestrator.spec.tuned import TunedJob, TuningJobRecord
from orchestrator.tuner.overview import overview_of
from orchestrator.tuner.results import results_for, results_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from orchestrator.report.tuning import Part

JOBS = TypeAdapter(tuple[TunedJob, ...])
TABLE_ROWS = 20


def main() -> None:
    """Answer one letter (see ``analyst.py``)."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
    letter = json.loads(sys.stdin.buffer.read())
    try:
        answer = {"result": answered(letter)}
    except OrchestratorError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    with os.fdopen(answers, "wb") as output:
        output.write(json.dumps(answer).encode())


def answered(letter: dict[str, Any]) -> Any:
    """Return what a letter asks for."""
    record, jobs = record_and_jobs(letter)
    if letter["ask"] == "report":
        return _drawn(record, jobs)
    from orchestrator.tuner.study import importance_of  # noqa: PLC0415 - takes a second

    return importance_of(*results_for(record.spec, jobs, letter["objective"]))


def record_and_jobs(letter: dict[str, Any]) -> tuple[TuningJobRecord, tuple[TunedJob, ...]]:
    """Return the tuning job that a letter tells of, and its training jobs."""
    record = TuningJobRecord.model_validate(letter["record"])
    return record, JOBS.validate_python(letter["jobs"])


def page_of(
    record: TuningJobRecord,
    jobs: Sequence[TunedJob],
    now: datetime,
    parts: tuple[Part, ...] = (),
    library: str = "",
) -> str:
    """Return a page about a tuning job.

    Args:
        record: The tuning job.
        jobs: All of its training jobs.
        now: The time.
        parts: Plots.
        library: What draws them.
    """
    results = results_of(record.spec, jobs)
    return render_tuning(
        TuningReport(
            overview=overview_of(record, jobs),
            best=results[0].best_first(0)[:TABLE_ROWS],
            parts=parts,
            library=library,
            made_at=now,
            version=__version__,
        )
    )


def _drawn(record: TuningJobRecord, jobs: Sequence[TunedJob]) -> str:
    from orchestrator.tuner.figures import library, parts_of  # noqa: PLC0415 - takes a second

    results = [each for each in results_of(record.spec, jobs) if each.whole]
    parts = tuple(part for each in results for part in parts_of(each))
    return page_of(record, jobs, SystemClock().now(), parts, library())


if __name__ == "__main__":
    main()

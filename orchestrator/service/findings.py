"""Use cases of the debugger: what it found, and the files with what it recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.backends.debug import tensors_directory
from orchestrator.debugger.deliveries import read_deliveries
from orchestrator.debugger.evaluation import evaluate
from orchestrator.debugger.lines import Lines, read_lines
from orchestrator.debugger.traces import list_traces, no_trace, read_trace_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.debugger.traces import TraceChunk
    from orchestrator.scheduler.workspace import Workspace
    from orchestrator.spec.findings import FindingsReport, TraceFile
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.store.base import Store


class FindingService:
    """What debuggers have to say.

    Args:
        store: The state.
        workspace: The jobs' files.
    """

    def __init__(self, store: Store, workspace: Workspace) -> None:
        self._store = store
        self._workspace = workspace

    def report(self, name: str) -> FindingsReport:
        """Return all that a job's debugger has to say.

        Raises:
            NotFound: There is no such job.
        """
        return self.report_of(self._store.get_job(name))

    def report_of(self, job: TrainingJobRecord) -> FindingsReport:
        """Return all that the debugger of a job has to say that was just read."""
        if not self._has_own_folder(job):
            return evaluate(job, Lines())
        directory = self._workspace.job_directory(job.name)
        report = evaluate(job, read_lines(directory, job))
        return report.model_copy(update={"deliveries": read_deliveries(directory)})

    def traces(self, name: str) -> tuple[TraceFile, ...]:
        """Return the files with what was recorded of a job.

        Raises:
            NotFound: There is no such job.
        """
        job = self._store.get_job(name)
        directory = self._tensors(job)
        return () if directory is None else list_traces(directory)

    def read_trace(
        self, name: str, file: str, *, offset: int = 0, limit_bytes: int = 1 << 20
    ) -> TraceChunk:
        """Read one of these files from a byte offset.

        Raises:
            NotFound: There is no such job or file.
        """
        job = self._store.get_job(name)
        directory = self._tensors(job)
        if directory is None:
            raise no_trace(file)
        return read_trace_bytes(
            directory, file, offset, limit_bytes, may_grow=not job.status.is_terminal
        )

    def _tensors(self, job: TrainingJobRecord) -> Path | None:
        if not self._has_own_folder(job):
            return None
        return tensors_directory(job.spec, self._workspace.job_directory(job.name))

    def _has_own_folder(self, job: TrainingJobRecord) -> bool:
        """Return whether a debugger may have written here, not one of a job that is forgotten."""
        is_placed = job.spec.debugger is not None and job.attempt > 0
        return is_placed and not self._workspace.is_anothers(job)

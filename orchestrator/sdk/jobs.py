"""Handles of jobs: look, wait, follow, stop, download; also of jobs that others started."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import JobFailed, NotFound, OrchestratorError
from orchestrator.sdk.lines import LineAssembler, OutputLine
from orchestrator.sdk.transport import Transport, connect
from orchestrator.spec.base import Saved
from orchestrator.spec.findings import FindingsReport
from orchestrator.spec.record import Artifact, Explanation, MetricValue, TrainingJobRecord
from orchestrator.spec.state import EndReason, TrainingJobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.sdk.findings import Findings
    from orchestrator.sdk.recording import Recording
    from orchestrator.sdk.tensors import Tensors
    from orchestrator.sdk.trial import Trial

LONG_POLL_SECONDS = 10.0


class TrainingResult(Saved):
    """What a completed (or stopped) job left."""

    name: str
    status: TrainingJobStatus
    end_reason: EndReason
    metrics: dict[str, float]
    """The last value of every metric."""
    model: Artifact | None
    output: Artifact | None
    training_seconds: float | None

    def _repr_html_(self) -> str:
        from orchestrator.sdk.notebook import result_html  # noqa: PLC0415  # only notebooks ask

        return result_html(self)


class TrainingJob:
    """One training job. Get one by ``ModelTrainer.train``, ``TrainingJob.get`` or ``list``.

    Args:
        record: Its present state.
        transport: How the service is reached.
    """

    def __init__(self, record: TrainingJobRecord, transport: Transport) -> None:
        self._record = record
        self._transport = transport

    # -- finding ---------------------------------------------------------------------------

    @classmethod
    def get(cls, name: str, transport: Transport | None = None) -> TrainingJob:
        """Attach to a job by name, running or ended.

        Raises:
            NotFound: There is no such job.
        """
        transport = transport or connect()
        return cls(_parse(transport.describe(name)), transport)

    @classmethod
    def list(cls, transport: Transport | None = None, **query: Any) -> Iterator[TrainingJob]:
        """Yield jobs, newest first.

        Args:
            transport: How the service is reached.
            query: ``name_contains``, ``status_equals``, ``created_after``, ``sort_by``, …
        """
        transport = transport or connect()
        cursor: str | None = None
        while True:
            page = transport.list_jobs(**query, cursor=cursor)
            for row in page["jobs"]:
                try:
                    job = cls.get(row["name"], transport)
                except NotFound:
                    continue  # it was deleted meanwhile
                yield job
            cursor = page["next_cursor"]
            if cursor is None:
                return

    # -- looking ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The training job's name."""
        return self._record.name

    @property
    def record(self) -> TrainingJobRecord:
        """The state as last seen; ``refresh`` looks again."""
        return self._record

    @property
    def status(self) -> TrainingJobStatus:
        """The status as last seen."""
        return self._record.status

    @property
    def explanation(self) -> Explanation | None:
        """Why the job failed, if it has."""
        return self._record.explanation

    def refresh(self) -> TrainingJob:
        """Look again and return this handle."""
        self._record = _parse(self._transport.describe(self.name))
        return self

    def __repr__(self) -> str:
        return f"TrainingJob({self.name!r}, {self.status.value}/{self._record.secondary_status.value})"

    def _repr_html_(self) -> str:
        from orchestrator.sdk.notebook import job_html  # noqa: PLC0415  # notebooks only

        metrics: dict[str, float] = {}
        if not self.status.is_terminal:
            with suppress(OrchestratorError):  # a picture without them is better than none
                metrics = self.metrics()
        return job_html(self._record, metrics)

    # -- waiting ---------------------------------------------------------------------------

    def wait(
        self,
        *,
        logs: bool = False,
        timeout_seconds: float | None = None,
        on_line: Callable[[OutputLine], None] | None = None,
        on_change: Callable[[TrainingJobRecord], None] | None = None,
        on_progress: Callable[[OutputLine], None] | None = None,
        on_tick: Callable[[], None] | None = None,
    ) -> TrainingJob:
        """Wait until the job has ended; return this handle. Never stops the job.

        Args:
            logs: Print the log lines of all hosts as they come; in a notebook, also show how
                the job gets on, unless a callback is given.
            timeout_seconds: Raise TimeoutError after this time; None = wait for ever.
            on_line: Gets every log line instead of printing it.
            on_change: Gets the record at every change.
            on_progress: Gets the unfinished line of a host when it has changed, such as a
                progress bar.
            on_tick: Called about once a second.

        Raises:
            TimeoutError: The time is over; the job goes on.
        """
        from orchestrator.sdk.follow import follow_job  # noqa: PLC0415  # keeps import light
        from orchestrator.sdk.notebook import in_notebook, wait_in_notebook  # noqa: PLC0415

        watched = any((on_line, on_change, on_progress, on_tick))
        if logs and not watched and in_notebook():
            wait_in_notebook(self, logs=True, timeout_seconds=timeout_seconds)
            return self
        self._record = follow_job(
            self._transport,
            self._record,
            on_line=on_line or (self._print_line if logs else None),
            on_change=on_change,
            on_progress=on_progress,
            on_tick=on_tick,
            timeout_seconds=timeout_seconds,
        )
        return self

    def _print_line(self, line: OutputLine) -> None:
        several = len(self._record.spec.hosts) > 1
        print(f"[{line.host}] {line.text}" if several else line.text)  # noqa: T201  # as asked for

    def result(self, timeout_seconds: float | None = None) -> TrainingResult:
        """Wait for the end and return what the job left.

        Raises:
            JobFailed: It failed; ``.explanation`` says why.
            TimeoutError: The time is over; the job goes on.
        """
        record = self.wait(timeout_seconds=timeout_seconds).record
        if record.status is TrainingJobStatus.FAILED or record.end_reason is None:
            raise JobFailed(
                failure_text(record),
                explanation=(
                    record.explanation.model_dump(mode="json") if record.explanation else None
                ),
            )
        started, ended = record.training_started_at, record.training_ended_at
        return TrainingResult(
            name=record.name,
            status=record.status,
            end_reason=record.end_reason,
            metrics={metric.name: metric.value for metric in record.final_metrics},
            model=record.artifacts.get("model"),
            output=record.artifacts.get("output"),
            training_seconds=(ended - started).total_seconds() if started and ended else None,
        )

    # -- acting ----------------------------------------------------------------------------

    def stop(self, *, grace_seconds: float | None = None, wait: bool = False) -> TrainingJob:
        """Ask the job to stop gracefully; its artifacts are kept.

        Raises:
            InvalidState: It has ended already.
        """
        self._record = _parse(self._transport.stop(self.name, grace_seconds=grace_seconds))
        return self.wait() if wait else self

    def delete(self) -> None:
        """Forget the ended job and remove its files in the home directory."""
        self._transport.delete(self.name)

    # -- logs ------------------------------------------------------------------------------

    def logs(
        self, *, host: str = "algo-1", attempt: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Yield the log lines of one host.

        Args:
            host: Whose log.
            attempt: None = the present one, and while following those after it.
            follow: Wait for more until the job has ended.
        """
        number = attempt
        while True:
            if number is None and follow:
                number = self._await_attempt(1)
            yield from self._attempt_logs(host, number, follow=follow)
            if attempt is not None or not follow or number is None:
                return
            following = self._await_attempt(number + 1)
            if following == number:
                return
            number = following

    def _attempt_logs(self, host: str, attempt: int | None, *, follow: bool) -> Iterator[str]:
        assembler = LineAssembler(host)
        offset = 0
        while True:
            chunk = self._transport.read_log(
                self.name,
                host=host,
                attempt=attempt,
                offset=offset,
                wait_seconds=LONG_POLL_SECONDS if follow else 0,
            )
            attempt = chunk["attempt"] or attempt
            yield from (line.text for line in assembler.feed(chunk["data"]))
            at_end = not chunk["data"] and not follow
            offset = chunk["next_offset"]
            if chunk["finished"] or at_end:
                yield from (line.text for line in assembler.close())
                return

    def _await_attempt(self, number: int) -> int:
        """Wait for this attempt or the job's end; return the last attempt up to this one."""
        record = self.refresh().record
        while record.attempt < number and not record.status.is_terminal:
            record = self._record = _parse(
                self._transport.wait(
                    self.name, after=record.revision, timeout_seconds=LONG_POLL_SECONDS
                )
            )
        return min(record.attempt, number)

    # -- tags ------------------------------------------------------------------------------

    def tags(self) -> dict[str, str]:
        """Return the job's tags."""
        return _tags(self._transport.tags(self.name))

    def add_tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Add or change tags and return them all.

        Raises:
            LimitExceeded: There would be more than 50.
        """
        put = [{"key": key, "value": value} for key, value in tags.items()]
        return _tags(self._transport.set_tags(self.name, put=put, remove=[]))

    def remove_tags(self, *names: str) -> dict[str, str]:
        """Remove tags and return those that are left."""
        return _tags(self._transport.set_tags(self.name, put=[], remove=list(names)))

    # -- metrics and artifacts -------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Return the last value of every metric."""
        final = {metric.name: metric.value for metric in self._record.final_metrics}
        if self.status.is_terminal:
            return final
        return {m["name"]: m["value"] for m in self._transport.last_metrics(self.name)}

    def final_metrics(self) -> tuple[MetricValue, ...]:
        """Return the last values with their steps and times; empty before the end."""
        return self._record.final_metrics

    def curve(self, metric: str, *, max_points: int = 2000) -> dict[str, Any]:
        """Return one metric over time: ``steps``, ``times`` (epoch seconds), ``values``, ``has_steps``."""
        return self._transport.metric_curve(self.name, metric, max_points=max_points)

    # -- the debugger ----------------------------------------------------------------------

    def findings(self) -> Findings:
        """Return what the job's debugger has found so far, and whether it watches at all."""
        from orchestrator.sdk.findings import Findings  # noqa: PLC0415  # keeps import light

        found = FindingsReport.model_validate(self._transport.findings(self.name))
        return Findings(found)

    def tensors(
        self,
        name: str | None = None,
        steps: Iterable[int] | None = None,
        series: str | None = None,
        *,
        rank: int | None = None,
    ) -> Tensors:
        """Return recorded values over the steps of the run so far, whole tensors included.

        Args:
            name: ``gradients/fc1.weight``, ``loss``, or a regular expression of whole names;
                None = all tensors.
            steps: Only these; None = all.
            series: A statistic, such as ``abs_max``, or one of a collection, ``gradients/l2``;
                by default ``l2``.
            rank: Of which process of a distributed run; by default the first.

        Raises:
            NotFound: Nothing of that name, or no such series, was recorded, but others were.
        """
        from orchestrator.sdk.tensors import chosen  # noqa: PLC0415  # keeps import light

        recording = self._recording(rank)
        try:
            return chosen(recording.refresh(), name, steps, series)
        finally:
            recording.close()

    def trial(self, *, rank: int | None = None) -> Trial:
        """Return what was recorded, to be read as with SageMaker Debugger's library."""
        from orchestrator.sdk.trial import Trial  # noqa: PLC0415  # keeps import light

        debugger = self._record.spec.debugger
        return Trial(self._recording(rank), debugger.collections if debugger is not None else None)

    def export_tensors(self, directory: str | Path) -> Path:
        """Write what was recorded for TensorBoard: curves, histograms, findings.

        Args:
            directory: Made if missing; files of an earlier call are replaced.

        Raises:
            Unavailable: The extra ``export`` is not installed.
        """
        from orchestrator.sdk.tensorboard import write_event_files  # noqa: PLC0415

        place = Path(directory).expanduser()
        recording = self._recording(None)
        try:
            write_event_files(recording, place)
        finally:
            recording.close()
        return place

    def _recording(self, rank: int | None) -> Recording:
        from orchestrator.sdk.recording import Recording  # noqa: PLC0415  # keeps import light

        return Recording(self._transport, self.name, rank)

    def export_metrics(self, destination: str | Path, *, file_format: str = "csv") -> Path:
        """Write all points of all metrics for other programs; return where they are.

        Args:
            destination: The file; for ``tensorboard`` a directory.
            file_format: ``csv``, ``parquet`` or ``tensorboard``.

        Raises:
            Unavailable: The extra ``export`` is not installed where the file is made (Parquet,
                TensorBoard): here, or with a service URL where the service runs.
        """
        return self._transport.export_metrics(self.name, file_format, Path(destination))

    def download(self, destination: str | Path = ".", *, kind: str = "model") -> Path:
        """Put an artifact into a directory and return its path.

        Args:
            destination: Directory; made if missing.
            kind: ``model``, ``output``, or ``last_model``: what the program of a run that was
                ended early saved itself.

        Raises:
            NotFound: The job left no such artifact.
        """
        return self._transport.download(self.name, kind, Path(destination))


def failure_text(record: TrainingJobRecord) -> str:
    """Return why a job failed, for people: what, where, what the log said, what to do."""
    why = record.explanation
    if why is None:
        return f"training job {record.name} {record.status.value}: {record.message}"
    lines = [f"training job {record.name} failed: {why.summary}"]
    if why.host:
        lines.append(
            f"  on host {why.host}" + (f", at {why.user_frame}" if why.user_frame else "")
        )
    if why.exit_code is not None or why.signal:
        lines.append(f"  exit code {why.exit_code}" + (f" ({why.signal})" if why.signal else ""))
    if why.hint:
        lines.append(f"  hint: {why.hint}")
    if why.log_tail:
        lines.append("  last log lines:")
        lines.extend(f"    {line}" for line in why.log_tail)
    return "\n".join(lines)


def _tags(rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {row["key"]: row["value"] for row in rows}


def _parse(data: dict[str, Any]) -> TrainingJobRecord:
    return TrainingJobRecord.model_validate(data)

"""``TuningJob``: a handle of one tuning job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import NotFound
from orchestrator.sdk.jobs import TrainingJob
from orchestrator.sdk.transport import Transport, connect
from orchestrator.sdk.whole import optional
from orchestrator.spec.tuned import TunedJob, TuningOverview

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.spec.state import TrainingJobStatus

PAGE_ROWS = 100
LONGEST_WAIT_SECONDS = 10.0


class TuningJob:
    """One tuning job. Get one by ``HyperparameterTuner.tune``, ``TuningJob.get`` or ``list``.

    Args:
        overview: Its present state.
        transport: How the service is reached.
    """

    def __init__(self, overview: TuningOverview, transport: Transport) -> None:
        self._overview = overview
        self._transport = transport

    # -- finding ---------------------------------------------------------------------------

    @classmethod
    def get(cls, name: str, transport: Transport | None = None) -> TuningJob:
        """Attach to a tuning job by name, running or ended.

        Raises:
            NotFound: There is no such tuning job.
        """
        transport = transport or connect()
        return cls(_parse(transport.tunings.describe(name)), transport)

    @classmethod
    def list(cls, transport: Transport | None = None, **query: Any) -> Iterator[TuningJob]:
        """Yield tuning jobs, newest first.

        Args:
            transport: How the service is reached.
            query: ``name_contains``, ``status_equals``, ``created_after``, ``sort_by``, …
        """
        transport = transport or connect()
        cursor: str | None = None
        while True:
            page = transport.tunings.list(**query, cursor=cursor)
            for row in page["jobs"]:
                try:
                    job = cls.get(row["spec"]["tuning_job_name"], transport)
                except NotFound:
                    continue  # it was deleted meanwhile
                yield job
            cursor = page["next_cursor"]
            if cursor is None:
                return

    # -- looking ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The tuning job's name."""
        return self._overview.record.name

    @property
    def overview(self) -> TuningOverview:
        """The state as last seen; ``refresh`` looks again."""
        return self._overview

    @property
    def status(self) -> TrainingJobStatus:
        """The status as last seen."""
        return self._overview.record.status

    def refresh(self) -> TuningJob:
        """Look again and return this handle."""
        self._overview = _parse(self._transport.tunings.describe(self.name))
        return self

    def __repr__(self) -> str:
        counts = self._overview.status_counts
        return f"TuningJob({self.name!r}, {self.status.value}, {counts.completed} completed)"

    def _repr_html_(self) -> str:
        from orchestrator.sdk.notebook import tuning_html  # noqa: PLC0415  # notebooks only

        return tuning_html(self._overview)

    def training_jobs(self, **query: Any) -> Iterator[TunedJob]:
        """Yield what is known of its training jobs, by default in order of name.

        Args:
            query: ``status_equals``, ``sort_by`` (``Name``, ``CreationTime``, ``Status``,
                ``FinalObjectiveMetricValue``: the best first), ``descending``.
        """
        cursor: str | None = None
        while True:
            page = self._transport.tunings.jobs(self.name, **query, cursor=cursor)
            yield from map(TunedJob.model_validate, page["jobs"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def best_training_job(self) -> TrainingJob:
        """Return the training job with the best (first) objective so far.

        Raises:
            NotFound: None has a result yet.
        """
        best = self.refresh().overview.best
        if best is None:
            why = self.overview.record.failure_reason or self.overview.record.message
            raise NotFound(
                f"no training job of {self.name!r} has a result{f': {why}' if why else ' yet'}"
            )
        return TrainingJob.get(best.job_name, self._transport)

    def importance(self, objective: str | None = None) -> dict[str, float]:
        """Return by how much each hyperparameter decides whether a result is good.

        Optuna's PED-ANOVA: how far the best tenth of the results differs from all of them. What it
        says of few results is rough; 30 and more make it reliable.

        Args:
            objective: Name of the metric of the results; None = the first objective.

        Returns:
            Shares that sum to 1, the largest first.

        Raises:
            InvalidSpec: The tuning job has no such objective.
            InvalidState: It has too few results, or they do not differ.
        """
        found = self._transport.tunings.importance(self.name, objective)
        return {name: float(share) for name, share in found["shares"].items()}

    def report(self, path: str | Path) -> Path:
        """Write all about it, with Optuna's plots, into one HTML file that needs nothing else.

        Args:
            path: Of the file; one that is there is replaced. Only its owner may read it.

        Returns:
            The path, absolute.

        Raises:
            InvalidSpec: The path's directory does not exist.
            InvalidState: The service has no Plotly (``pip install 'orchestrator[report]'``).
        """
        from orchestrator.report.file import check_place, write  # noqa: PLC0415

        place = Path(path).expanduser().absolute()
        check_place(place)
        write(place, self._transport.tunings.report(self.name))
        return place

    def analytics(self) -> TuningAnalytics:
        """Return its training jobs as a table."""
        return TuningAnalytics(self)

    # -- waiting and acting ----------------------------------------------------------------

    def wait(
        self,
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[TuningOverview], None] | None = None,
    ) -> TuningJob:
        """Wait until the tuning job has ended; return this handle. Never stops it.

        A notebook's cell shows meanwhile how it gets on, unless ``on_change`` is given.

        Args:
            timeout_seconds: Raise TimeoutError after this time; None = wait for ever.
            on_change: Gets the state at every change.

        Raises:
            TimeoutError: The time is over; the tuning job goes on.
        """
        deadline = float("inf") if timeout_seconds is None else time.monotonic() + timeout_seconds
        on_change = on_change or self._cell()
        if on_change is not None:
            on_change(self._overview)
        while not self.status.is_terminal:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"the tuning job {self.name!r} has not ended within {timeout_seconds} s; it "
                    "goes on, wait again"
                )
            revision = self._overview.record.revision
            self._overview = _parse(
                self._transport.tunings.wait(
                    self.name, after=revision, timeout_seconds=min(left, LONGEST_WAIT_SECONDS)
                )
            )
            if on_change is not None and self._overview.record.revision > revision:
                on_change(self._overview)
        return self

    def _cell(self) -> Callable[[TuningOverview], None] | None:
        from orchestrator.sdk.notebook import in_notebook, tuning_cell  # noqa: PLC0415

        return tuning_cell(self) if in_notebook() else None

    def stop(self, *, wait: bool = False) -> TuningJob:
        """Ask it and its running training jobs to stop; what they made is kept. Idempotent."""
        self._overview = _parse(self._transport.tunings.stop(self.name))
        return self.wait() if wait else self

    def delete(self) -> None:
        """Forget the ended tuning job; its training jobs stay."""
        self._transport.tunings.delete(self.name)


class TuningAnalytics:
    """The training jobs of a tuning job as a table.

    Args:
        job: The tuning job.
    """

    def __init__(self, job: TuningJob) -> None:
        self._job = job

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each training job, with the columns of SageMaker's SDK.

        Those of hyperparameters come first; with several objectives, each has a further column
        of its name. Where training jobs are promoted, ``Epochs`` is the level of each.
        """
        spec = self._job.overview.record.spec
        objectives = spec.objectives
        rows = []
        for job in self._job.training_jobs():
            took = job.ended_at - job.started_at if job.started_at and job.ended_at else None
            row: dict[str, Any] = {name: _number(text) for name, text in job.values.items()}
            row |= {
                "TrainingJobName": job.job_name,
                "TrainingJobStatus": job.status.value if job.status else None,
                "FinalObjectiveValue": job.objectives[0] if job.objectives else None,
                "TrainingStartTime": job.started_at,
                "TrainingEndTime": job.ended_at,
                "TrainingElapsedTimeSeconds": took.total_seconds() if took else None,
            }
            if len(objectives) > 1:
                values = job.objectives or (None,) * len(objectives)
                names = [objective.metric_name for objective in objectives]
                row |= dict(zip(names, values, strict=True))
            if len(spec.definitions) > 1:
                row["TrainingJobDefinitionName"] = job.definition_name
            if spec.asha is not None and spec.asha.promote:
                row["Epochs"] = job.resource
            rows.append(row)
        return rows

    def dataframe(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``.

        Raises:
            Unavailable: pandas is not installed.
        """
        return optional("pandas").DataFrame(self.rows())


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _parse(data: dict[str, Any]) -> TuningOverview:
    return TuningOverview.model_validate(data)

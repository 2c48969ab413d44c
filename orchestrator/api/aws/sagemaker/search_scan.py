"""Looking through all jobs for Search: of each only as much is read as it takes to decide.

Lists of jobs are cheap, tags cost a little more, whole records the most; so what a list tells is asked
first, and what is left is read many at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.api.aws.sagemaker.describe import description, summary
from orchestrator.api.aws.sagemaker.search_expression import Condition
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store.base import ListQuery

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.api.aws.sagemaker.shapes import JobShapes
    from orchestrator.service.jobs import JobService

Found = dict[str, Any]
"""A job as far as it is known."""
OF_LIST = frozenset(
    {
        "TrainingJobName",
        "TrainingJobArn",
        "CreationTime",
        "LastModifiedTime",
        "TrainingJobStatus",
        "SecondaryStatus",
    }
)
"""What a list of jobs tells of each, just as its description does."""
TAGS = "Tags"
_HISTORY = "SecondaryStatusTransitions"
_SCANNED_AT_ONCE = 1000
_STATUSES = frozenset(status.value for status in TrainingJobStatus)


class Scan:
    """Finds jobs.

    Args:
        jobs: The use cases.
        shapes: Of a training job.
        directory: Where jobs are that name no place for their outputs.
    """

    def __init__(self, jobs: JobService, shapes: Callable[[], JobShapes], directory: Path) -> None:
        self._jobs = jobs
        self._shapes = shapes
        self._directory = directory

    def matching(
        self, query: ListQuery, conditions: Sequence[Condition], needs: frozenset[str]
    ) -> Iterator[Found]:
        """Yield the jobs of a list that fit all conditions.

        Args:
            query: The list.
            conditions: What they must fit.
            needs: The members that must be known of them.
        """
        first, tagged, last = _stages(conditions)
        wanted = needs.union(*(condition.needs for condition in conditions))
        for rows in self._pages(query):
            found = [row for row in rows if _fits(row, first)]
            if TAGS in wanted:
                found = [row for row in self._with_tags(found) if _fits(row, tagged)]
            if wanted - OF_LIST - {TAGS}:
                described = self._with_records(found, history=_HISTORY in wanted)
                found = [row for row in described if _fits(row, last)]
            yield from found

    def described(self, names: Iterable[str]) -> dict[str, Found]:
        """Return all of some jobs as Search gives it; one that is deleted meanwhile is left out."""
        rows = [{"TrainingJobName": name} for name in names]
        members = self._shapes().found.members
        return {
            row["TrainingJobName"]: {name: row[name] for name in row if name in members}
            for row in self._with_records(self._with_tags(rows), history=True)
        }

    def _pages(self, query: ListQuery) -> Iterator[list[Found]]:
        query = replace(query, limit=_SCANNED_AT_ONCE)
        while True:
            page = self._jobs.list(query)
            yield [summary(job) for job in page.jobs]
            if page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)

    def _with_tags(self, rows: Sequence[Found]) -> Iterator[Found]:
        tags = self._jobs.tags_of(_names(rows))
        for row in rows:
            mine = tags.get(row["TrainingJobName"])
            if mine is not None:
                yield row | {TAGS: [{"Key": tag.key, "Value": tag.value} for tag in mine]}

    def _with_records(self, rows: Iterable[Found], *, history: bool) -> Iterator[Found]:
        rows, shape = list(rows), self._shapes().request
        records = self._jobs.describe_many(_names(rows), history=history)
        for row in rows:
            record = records.get(row["TrainingJobName"])
            if record is not None:
                yield row | description(record, shape, self._directory)


def narrowed(expression: Mapping[str, Any]) -> ListQuery:
    """Return the list that has every job that can fit: the store's own filters where all must hold."""
    query = ListQuery()
    if expression.get("Operator") == "Or":
        return query
    for each in expression.get("Filters", ()):
        how, value = each.get("Operator", "Equals"), each.get("Value")
        if each["Name"] == "TrainingJobStatus" and how == "Equals" and value in _STATUSES:
            query = replace(query, status_equals=TrainingJobStatus(value))
        elif each["Name"] == "TrainingJobName" and how in {"Equals", "Contains"} and value:
            query = replace(query, name_contains=value)
    return query


def _stages(
    conditions: Sequence[Condition],
) -> tuple[list[Condition], list[Condition], list[Condition]]:
    """Return what a list decides, what tags beside it decide, and what needs the records."""
    stages: tuple[list[Condition], list[Condition], list[Condition]] = ([], [], [])
    for condition in conditions:
        more = condition.needs - OF_LIST
        stages[0 if not more else 1 if more == {TAGS} else 2].append(condition)
    return stages


def _fits(row: Found, conditions: Iterable[Condition]) -> bool:
    return all(condition.fits(row) for condition in conditions)


def _names(rows: Iterable[Found]) -> list[str]:
    return [row["TrainingJobName"] for row in rows]

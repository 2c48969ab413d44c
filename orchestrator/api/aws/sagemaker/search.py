"""Search over SageMaker's API, for training jobs."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import validation_error
from orchestrator.api.aws.operations import Handler
from orchestrator.api.aws.sagemaker.describe import description
from orchestrator.api.aws.sagemaker.properties import Property, property_named
from orchestrator.api.aws.sagemaker.search_expression import predicate
from orchestrator.api.aws.sagemaker.shapes import RESOURCE, JobShapes
from orchestrator.errors import NotFound
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store.base import ListQuery

if TYPE_CHECKING:
    from orchestrator.service.jobs import JobService

_DEFAULT_RESULTS = 10
_SCANNED_AT_ONCE = 1000
_STATUSES = frozenset(status.value for status in TrainingJobStatus)


@dataclass(frozen=True)
class Hit:
    """A job that fits, and where it stands in the answer."""

    place: tuple[int, Any, str]
    job: dict[str, Any]


class Search:
    """The operation Search.

    Every job is looked at that the store's own filters leave (status, part of the name), in whatever
    order is asked for: one page costs as much as all, and the number of hits is exact.

    Args:
        jobs: The use cases.
        shapes: Of a training job.
        directory: Where jobs are that name no place for their outputs.
    """

    def __init__(
        self,
        jobs: JobService,
        shapes: Callable[[], JobShapes],
        directory: Path,
    ) -> None:
        self._jobs = jobs
        self._shapes = shapes
        self._directory = directory

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {"Search": self.search}

    def search(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return the jobs that fit an expression."""
        if asked["Resource"] != RESOURCE:
            raise validation_error(
                f"Search finds {RESOURCE} here, not {asked['Resource']}: nothing else is kept."
            )
        if "VisibilityConditions" in asked:
            raise validation_error("VisibilityConditions are not served: every job is visible.")
        expression = asked.get("SearchExpression", {})
        shape = self._shapes().found
        fits = predicate(expression, shape) if "SearchExpression" in asked else _all
        order = property_named(asked.get("SortBy", "LastModifiedTime"), shape)
        descending = asked.get("SortOrder", "Descending") == "Descending"
        limit = asked.get("MaxResults", _DEFAULT_RESULTS)
        after = _position(asked.get("NextToken"), order, descending)
        if asked.get("CrossAccountFilterOption") == "CrossAccount":
            return {"Results": [], "TotalHits": {"Value": 0, "Relation": "EqualTo"}}

        total = 0

        def later() -> Iterator[Hit]:
            nonlocal total
            for job in self._described(_narrowed(expression)):
                if fits(job):
                    total += 1
                    place = _place(job, order, descending)
                    if after is None or _is_behind(place, after, descending):
                        yield Hit(place, job)

        pick = heapq.nlargest if descending else heapq.nsmallest
        page = pick(limit + 1, later(), key=lambda hit: hit.place)
        answer = {
            "Results": [{RESOURCE: hit.job} for hit in page[:limit]],
            "TotalHits": {"Value": total, "Relation": "EqualTo"},
        }
        if len(page) > limit:
            answer["NextToken"] = _token(page[limit - 1].place)
        return answer

    def _described(self, query: ListQuery) -> Iterator[dict[str, Any]]:
        """Yield jobs as Search answers them; one that is deleted meanwhile is none."""
        shapes = self._shapes()
        while True:
            page = self._jobs.list(query)
            for summary in page.jobs:
                try:
                    job = self._jobs.describe(summary.name)
                    tags = self._jobs.tags(summary.name)
                except NotFound:
                    continue
                found = description(job, shapes.request, self._directory)
                found["Tags"] = [{"Key": tag.key, "Value": tag.value} for tag in tags]
                yield {
                    name: value for name, value in found.items() if name in shapes.found.members
                }
            if page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)


def _all(_job: Mapping[str, Any]) -> bool:
    return True


def _narrowed(expression: Mapping[str, Any]) -> ListQuery:
    """Return the list that has every job that can fit: the store's own filters where all must hold."""
    query = ListQuery(limit=_SCANNED_AT_ONCE)
    if expression.get("Operator") == "Or":
        return query
    for each in expression.get("Filters", ()):
        how, value = each.get("Operator", "Equals"), each.get("Value")
        if each["Name"] == "TrainingJobStatus" and how == "Equals" and value in _STATUSES:
            query = replace(query, status_equals=TrainingJobStatus(value))
        elif each["Name"] == "TrainingJobName" and how in {"Equals", "Contains"} and value:
            query = replace(query, name_contains=value)
    return query


def _place(job: Mapping[str, Any], order: Property, descending: bool) -> tuple[int, Any, str]:
    """Return where a job stands; those without the property come last, either way."""
    value = next(order.values(job), None)
    name = job["TrainingJobName"]
    if value is None:
        return _last(descending), 0, name
    if isinstance(value, datetime):
        value = value.timestamp()
    comparable = value if order.kind in {"number", "time"} else str(value)
    return 1 - _last(descending), comparable, name


def _last(descending: bool) -> int:
    return 0 if descending else 1


def _is_behind(place: tuple[int, Any, str], after: tuple[int, Any, str], descending: bool) -> bool:
    return place < after if descending else place > after


def _token(place: tuple[int, Any, str]) -> str:
    return json.dumps(place)


def _position(token: str | None, order: Property, descending: bool) -> tuple[int, Any, str] | None:
    """Return where the page before ended.

    Raises:
        AwsError: The token was not made by this search.
    """
    if token is None:
        return None
    try:
        rank, value, name = json.loads(token)
    except (ValueError, TypeError, RecursionError) as error:
        raise _broken_token() from error
    is_number = rank == _last(descending) or order.kind in {"number", "time"}
    if (
        rank not in (0, 1)
        or not isinstance(value, (int, float) if is_number else str)
        or not isinstance(name, str)
    ):
        raise _broken_token()
    return rank, value, name


def _broken_token() -> Exception:
    return validation_error("NextToken is none that this search has given.")

"""Search over SageMaker's API, for training jobs."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import validation_error
from orchestrator.api.aws.operations import Handler
from orchestrator.api.aws.sagemaker.properties import Property, member, property_named
from orchestrator.api.aws.sagemaker.search_expression import conditions
from orchestrator.api.aws.sagemaker.search_scan import Scan, narrowed
from orchestrator.api.aws.sagemaker.shapes import RESOURCE, JobShapes
from orchestrator.errors import InvalidSpec

if TYPE_CHECKING:
    from orchestrator.service.jobs import JobService
    from orchestrator.service.tokens import PageTokens

_DEFAULT_RESULTS = 10
_OF_PAGE = frozenset({"NextToken", "MaxResults"})
Place = tuple[int, Any, str]
"""Where a job stands: whether it has what is sorted by, this, its name."""


class Search:
    """The operation Search.

    Every job is looked at that the store's own filters leave (status, part of the name), in whatever
    order is asked for: one page costs as much as all, and the number of hits is exact.

    Args:
        jobs: The use cases.
        shapes: Of a training job.
        tokens: Makes page tokens.
        directory: Where jobs are that name no place for their outputs.
    """

    def __init__(
        self,
        jobs: JobService,
        shapes: Callable[[], JobShapes],
        tokens: PageTokens,
        directory: Path,
    ) -> None:
        self._shapes = shapes
        self._tokens = tokens
        self._scan = Scan(jobs, shapes, directory)

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
        expression, shape = asked.get("SearchExpression"), self._shapes().found
        must = [] if expression is None else conditions(expression, shape)
        by = asked.get("SortBy", "LastModifiedTime")
        order, needs = property_named(by, shape), frozenset({member(by)})
        after = self._opened(asked)
        if asked.get("CrossAccountFilterOption") == "CrossAccount":
            return {"Results": [], "TotalHits": {"Value": 0, "Relation": "EqualTo"}}
        descending = asked.get("SortOrder", "Descending") == "Descending"
        places = [
            _place(job, order, descending)
            for job in self._scan.matching(narrowed(expression or {}), must, needs)
        ]
        limit = asked.get("MaxResults", _DEFAULT_RESULTS)
        pick = heapq.nlargest if descending else heapq.nsmallest
        behind = (p for p in places if after is None or (p < after if descending else p > after))
        page = pick(limit + 1, behind)
        found = self._scan.described(name for _, _, name in page[:limit])
        answer: dict[str, Any] = {
            "Results": [{RESOURCE: job} for job in found.values()],
            "TotalHits": {"Value": len(places), "Relation": "EqualTo"},
        }
        if len(page) > limit:
            answer["NextToken"] = self._tokens.seal(_searched(asked), list(page[limit - 1]))
        return answer

    def _opened(self, asked: Mapping[str, Any]) -> Place | None:
        """Return where the page before ended.

        Raises:
            AwsError: The token was not made by this search.
        """
        token = asked.get("NextToken")
        if token is None:
            return None
        try:
            rank, value, name = self._tokens.open(_searched(asked), token)
        except InvalidSpec as error:
            raise validation_error(
                f"NextToken is none that this search has given: {error.message}."
            ) from error
        return rank, value, name


def _searched(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides which jobs are found and in what order."""
    return {"Search": {name: asked[name] for name in asked if name not in _OF_PAGE}}


def _place(job: Mapping[str, Any], order: Property, descending: bool) -> Place:
    """Return where a job stands; those without the property, or with NaN, come last, either way."""
    value = next(order.values(job), None)
    name = job["TrainingJobName"]
    last = 0 if descending else 1
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return last, 0, name
    if isinstance(value, datetime):
        value = value.timestamp()
    comparable = value if order.kind in {"number", "time"} else str(value)
    return 1 - last, comparable, name

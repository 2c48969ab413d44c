"""How SQLite is asked for a page: its planner cannot know what a term or a time hits.

- A filter that leaves few rows: fetch those, sort them.
- In order of numbers: blocks of numbers without a job modified late enough are skipped; where
  both a term and a status are given, their two indexes take turns, longer ones for the better, so
  that it bounds the time.
- In order of statuses: one list in order of numbers per status.
- In order of names: stretches of names that cannot hold the term or the numbers are skipped.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store import counts, name_blocks, names
from orchestrator.store.base import SortBy
from orchestrator.store.listing import Reader, Want
from orchestrator.store.tables import BLOCK_SIZE, GRAMS

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

_LONGEST_TURN = 65_536
_FEW_RUNS = 2
"""So many are searched for without a look at how common they are."""

_NUMBER = "jobs NOT INDEXED"
_STATUS = "jobs INDEXED BY ix_jobs_status_number"
_NAME = "jobs INDEXED BY ix_jobs_name_key"
_STATUS_NAME = "jobs INDEXED BY ix_jobs_status_name_key"
_MODIFIED = "jobs INDEXED BY ix_jobs_modified"
_PICKED = "json_each(:picked) CROSS JOIN jobs ON jobs.number = json_each.value"
_PICKED_OF_STATUS = f"json_each(:picked) CROSS JOIN {_STATUS} ON jobs.number = json_each.value"
_MATCHING = f"{GRAMS} WHERE {GRAMS} MATCH :grams"
_PROBED = f"{GRAMS} WHERE {GRAMS} MATCH '\"' || run.value || '\"' ORDER BY rowid"
_ENDS = text(
    "SELECT run.value AS run, "  # noqa: S608
    f"(SELECT rowid FROM {_PROBED} LIMIT 1 OFFSET :skipped) AS first, "
    f"(SELECT rowid FROM {_PROBED} DESC LIMIT 1 OFFSET :skipped) AS last "
    "FROM json_each(:runs) AS run ORDER BY run.key"
)
_GRAMS = f"{GRAMS} CROSS JOIN jobs ON jobs.number = {GRAMS}.rowid WHERE {GRAMS} MATCH :grams"


@dataclass(frozen=True)
class _Path:
    """A way through the jobs in order of their numbers.

    Attributes:
        source: Reads rows of ``jobs``.
        candidates: Reads only numbers, which is cheap; ends in a condition.
        number: Name of the number there.
    """

    source: str
    candidates: str
    number: str


_BY_NUMBER = _Path(_NUMBER, f"{_NUMBER} WHERE 1", "jobs.number")
_BY_STATUS = _Path(_STATUS, f"{_STATUS} WHERE jobs.status = :status", "jobs.number")
_BY_TERM = _Path(_GRAMS, _MATCHING, f"{GRAMS}.rowid")


class SqliteReader(Reader):
    """Chooses the index itself."""

    contains = "instr(jobs.name_key, :term) > 0"
    few = 2500
    """So many rows, anywhere, are fetched and sorted faster than an index is searched for hits."""
    few_neighbours = 8000
    """The same for rows that lie side by side."""
    first_turn = 512
    """Candidates of the first turn along each of two indexes."""
    probe = 100
    """Hits of a run that are skipped at both ends to see how common it is."""

    def rows(self, want: Want) -> list[RowMapping]:
        """Return the first rows that are wanted."""
        grams = None if want.term is None else self._grams(want.term)
        few = self._few(want, grams)
        if few is not None:
            return few
        if want.sort_by is SortBy.NAME:
            return self._by_name(want)
        if want.sort_by is SortBy.STATUS:
            return self._by_status(want, grams)
        return self._by_number(want, grams)

    # -- few -------------------------------------------------------------------------------

    def _few(self, want: Want, grams: str | None) -> list[RowMapping] | None:
        """Return the rows when a filter leaves so few that all can be looked at."""
        low, high = want.number_after, want.number_before
        if low is not None and high is not None and high - low <= self.few_neighbours:
            return self.run(want, _NUMBER) if high - low > 1 else []
        if want.sort_by is SortBy.NAME and self._few_have(want.status):
            return self.run(want, _STATUS_NAME)
        numbers, most = None, self.few + 1
        if grams is not None and want.sort_by is not SortBy.CREATION_TIME:
            number, bounds = _BY_TERM.number, want.numbers_only()
            numbers = self._numbers(number, _MATCHING, bounds, most, grams=grams)
        elif want.modified_after is not None or want.modified_before is not None:
            source, bounds = f"{_MODIFIED} WHERE 1", want.modified_only()
            numbers = self._numbers("jobs.number", source, bounds, most)
        if numbers is None or len(numbers) > self.few:
            return None
        return self.run(want, _PICKED, picked=json.dumps(numbers))

    def _few_have(self, status: TrainingJobStatus | None) -> bool:
        return status is not None and counts.by_status(self.connection)[status] <= self.few

    def _numbers(
        self, number: str, source: str, bounds: Want, most: int, *, order: str = "", **values: Any
    ) -> list[int]:
        """Return numbers of a source, which ends in a condition, within bounds."""
        conditions, parameters = self.conditions(bounds, number)
        where = "".join(f" AND {condition}" for condition in conditions)
        statement = f"SELECT {number} FROM {source}{where} {order} LIMIT :most"  # noqa: S608
        found = self.connection.execute(text(statement), {**parameters, **values, "most": most})
        return [row[0] for row in found.all()]

    # -- in order of statuses ---------------------------------------------------------------

    def _by_status(self, want: Want, grams: str | None) -> list[RowMapping]:
        totals = counts.by_status(self.connection)
        found: list[RowMapping] = []
        for status in sorted(TrainingJobStatus, reverse=want.descending):
            if want.status not in {None, status} or not totals[status]:
                continue
            here = _of_status(want, status)
            if here is not None:
                found += self._by_number(replace(here, limit=want.limit - len(found)), grams)
            if len(found) >= want.limit:
                break
        return found

    # -- in order of numbers ---------------------------------------------------------------

    def _by_number(self, want: Want, grams: str | None) -> list[RowMapping]:
        found: list[RowMapping] = []
        for part in self._modified_parts(want):
            found += self._alternating(replace(part, limit=want.limit - len(found)), grams)
            if len(found) >= want.limit:
                break
        return found

    def _alternating(self, want: Want, grams: str | None) -> list[RowMapping]:
        """Read along each index in turn, every turn from where the last one ended.

        Turns of the index whose candidates lie further apart grow.
        """
        paths = [_BY_STATUS] * (want.status is not None) + [_BY_TERM] * (grams is not None)
        if len(paths) < 2:
            path = paths[0] if paths else _BY_NUMBER
            return self._along(path, want, grams)
        found: list[RowMapping] = []
        sizes = dict.fromkeys(paths, self.first_turn)
        strides = dict.fromkeys(paths, 0.0)
        for path in itertools.cycle(paths):
            left = replace(want, limit=want.limit - len(found))
            numbers = self._candidates(path, left, grams, sizes[path])
            # The index of statuses is read, not the rows: most candidates have another status.
            source = _PICKED if path is _BY_STATUS else _PICKED_OF_STATUS
            found += self.run(left, source, picked=json.dumps(numbers))
            if len(numbers) < sizes[path] or len(found) >= want.limit:
                break
            want = want.past(numbers[-1])
            strides[path] = abs(numbers[-1] - numbers[0]) / len(numbers)
            is_better = strides[path] == max(strides.values())
            sizes[path] = min(2 * sizes[path], _LONGEST_TURN) if is_better else self.first_turn
        return found

    def _along(self, path: _Path, want: Want, grams: str | None) -> list[RowMapping]:
        extra = {"grams": grams} if path is _BY_TERM else {}
        return self.run(want, path.source, number=path.number, **extra)

    def _candidates(self, path: _Path, want: Want, grams: str | None, size: int) -> list[int]:
        """Return the next numbers along one index; fewer than ``size`` are the last ones."""
        bounds = want.numbers_only()
        extra = {"grams": grams} if path is _BY_TERM else {"status": want.status}
        order = f"ORDER BY {bounds.order(path.number)}"
        return self._numbers(path.number, path.candidates, bounds, size, order=order, **extra)

    def _modified_parts(self, want: Want) -> Iterator[Want]:
        """Yield the parts of the numbers that can hold jobs modified late enough."""
        if want.modified_after is None:
            yield want
            return
        found = self.connection.scalars(
            text(
                "SELECT block FROM job_blocks WHERE modified_max_us > :after "  # noqa: S608
                f"ORDER BY block {want.direction}"
            ),
            {"after": want.modified_after},
        )
        for first, last in _runs([int(block) for block in found]):
            low, high = min(first, last), max(first, last)
            yield want.between(low * BLOCK_SIZE - 1, (high + 1) * BLOCK_SIZE)

    # -- in order of names -----------------------------------------------------------------

    def _by_name(self, want: Want) -> list[RowMapping]:
        source = _NAME if want.status is None else _STATUS_NAME
        bounds = (want.term, want.number_after, want.number_before, want.modified_after)
        if all(bound is None for bound in bounds):
            return self.run(want, source)
        found: list[RowMapping] = []
        for stretch in self._stretches(want):
            part = replace(want, limit=want.limit - len(found))
            if want.name_after is None or stretch.first > want.name_after:
                part = replace(part, name_after=None, name_from=stretch.first)
            if stretch.end is not None and stretch.end < (want.name_before or "~"):
                part = replace(part, name_before=stretch.end)
            found += self.run(part, source)
            if len(found) >= want.limit:
                break
        return found

    def _stretches(self, want: Want) -> Iterator[name_blocks.Stretch]:
        low = want.number_after
        if want.modified_after is not None:
            block = self.number(
                "SELECT min(block) FROM job_blocks WHERE modified_max_us > :after",
                after=want.modified_after,
            )
            first = counts.last_number(self.connection) if block is None else block * BLOCK_SIZE
            low = max(first - 1, low or 0)
        wanted = name_blocks.Filter(
            frozenset(() if want.term is None else names.term_runs(want.term)),
            low,
            want.number_before,
        )
        start = want.name_before if want.descending else want.name_after
        return name_blocks.stretches(
            self.connection, wanted, descending=want.descending, start=start
        )

    # -- terms -----------------------------------------------------------------------------

    def _grams(self, term: str) -> str:
        """Return what to search the full text for."""
        runs = names.term_runs(term)
        if len(runs) > _FEW_RUNS:
            end = counts.last_number(self.connection) + 1
            values = {"runs": json.dumps(runs), "skipped": self.probe}
            found = self.connection.execute(_ENDS, values)
            runs = names.most_telling(
                {run: None if first is None else (first, end - last) for run, first, last in found}
            )
        return " AND ".join(names.quoted(run) for run in runs)


def _of_status(want: Want, status: TrainingJobStatus) -> Want | None:
    """Return the part of a list by status that has one status; None when that is behind us."""
    last, number = want.last_status, want.last_number
    here = replace(
        want,
        sort_by=SortBy.CREATION_TIME,
        status=status,
        last_status=None,
        last_number=None,
    )
    if last is None or number is None:
        return here
    if status.value == last:
        return here.past(number)
    return here if (status.value < last) is want.descending else None


def _runs(blocks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of neighbours, in the order given."""
    start = 0
    for place in range(1, len(blocks) + 1):
        if place == len(blocks) or abs(blocks[place] - blocks[place - 1]) != 1:
            yield blocks[start], blocks[place - 1]
            start = place

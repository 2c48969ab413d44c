"""Reads whole jobs: four statements, however many jobs."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    select,
    text,
)

from orchestrator.errors import NotFound
from orchestrator.spec.job import Tag, TrainingJobSpec
from orchestrator.spec.record import HostRecord, TrainingJobRecord, Transition
from orchestrator.store import codec, rules
from orchestrator.store.tables import hosts, job_details, jobs, tags, transitions

T = TypeVar("T")
_SPECS_KEPT = 4096
LIVE = text("jobs.live = 1")
"""Literal, so that SQLite sees that the partial index fits."""

_RECORD = select(
    jobs,
    job_details.c.notes,
    job_details.c.artifacts,
    job_details.c.final_metrics,
    job_details.c.explanation,
).join(job_details, job_details.c.number == jobs.c.number)
_SPECS = select(job_details.c.number, job_details.c.spec).where(
    job_details.c.number.in_(bindparam("numbers", expanding=True))
)


class SpecCache:
    """Specifications never change: those of jobs that are read often are parsed once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._specs: OrderedDict[tuple[int, int], TrainingJobSpec] = OrderedDict()

    def load(
        self, connection: Connection, rows: Sequence[RowMapping], *, keep: bool = True
    ) -> dict[int, TrainingJobSpec]:
        """Return the specifications of rows of ``jobs`` by job number.

        Args:
            connection: Sees the rows.
            rows: Of ``jobs``.
            keep: Remember those that were not known.
        """
        with self._lock:
            known = {row["number"]: self._specs.get(_identity(row)) for row in rows}
        missing = {row["number"]: row for row in rows if known[row["number"]] is None}
        loaded = _load_specs(connection, missing)
        with self._lock:
            for number, spec in loaded.items() if keep else ():
                self._specs[_identity(missing[number])] = spec
            while len(self._specs) > _SPECS_KEPT:
                self._specs.popitem(last=False)
        return {n: spec for n, spec in known.items() if spec is not None} | loaded


def _identity(row: RowMapping) -> tuple[int, int]:
    return row["number"], row["accept_id"]


def _load_specs(connection: Connection, rows: dict[int, RowMapping]) -> dict[int, TrainingJobSpec]:
    specs: dict[int, TrainingJobSpec] = {}
    for numbers in slices(list(rows)):
        for number, stored in connection.execute(_SPECS, {"numbers": list(numbers)}):
            specs[number] = codec.decode_spec(rows[number]["name"], stored)
    return specs


class Wanted:
    """The statements that read the jobs whose row meets a condition; building them costs, so keep it."""

    def __init__(self, condition: ColumnElement[bool]) -> None:
        self._condition = condition

    @cached_property
    def versions(self) -> Select[Any]:
        """What tells one state of a job from any other."""
        return select(jobs.c.number, jobs.c.accept_id, jobs.c.revision, jobs.c.modified_us).where(
            self._condition
        )

    @cached_property
    def rows(self) -> Select[Any]:
        """Rows of jobs with their details, less the specifications."""
        return _RECORD.where(self._condition)

    @cached_property
    def transitions(self) -> Select[Any]:
        """Their transitions."""
        return (
            select(transitions)
            .join(jobs, jobs.c.number == transitions.c.number)
            .where(self._condition)
            .order_by(transitions.c.number, transitions.c.position)
        )

    @cached_property
    def hosts(self) -> Select[Any]:
        """The hosts of their present attempts."""
        return (
            select(hosts)
            .join(jobs, and_(jobs.c.number == hosts.c.number, jobs.c.attempt == hosts.c.attempt))
            .where(self._condition)
            .order_by(hosts.c.number, hosts.c.rank)
        )


AMONG_NAMES = Wanted(jobs.c.name_key.in_(bindparam("name_keys", expanding=True)))
AMONG_NUMBERS = Wanted(jobs.c.number.in_(bindparam("numbers", expanding=True)))
NAMED = Wanted(jobs.c.name_key == bindparam("name_key"))
_NUMBERED = Wanted(jobs.c.number == bindparam("job"))


def by_name(connection: Connection, name: str, specs: SpecCache) -> TrainingJobRecord:
    """Return the job of this name.

    Raises:
        NotFound: There is none.
    """
    return only(load(connection, NAMED, specs, {"name_key": rules.name_key(name)}), name)


def only(found: Sequence[TrainingJobRecord], name: str) -> TrainingJobRecord:
    """Return the one job that was found under a name.

    Raises:
        NotFound: None was.
    """
    if not found:
        raise NotFound(rules.no_such_job(name))
    return found[0]


def number_of(connection: Connection, name: str) -> int:
    """Return the number of the job of this name.

    Raises:
        NotFound: There is none.
    """
    number = connection.scalar(
        select(jobs.c.number).where(jobs.c.name_key == rules.name_key(name))
    )
    if number is None:
        raise NotFound(rules.no_such_job(name))
    return int(number)


def numbered(connection: Connection, number: int, specs: SpecCache) -> TrainingJobRecord:
    """Return the job of this number, which must be there."""
    return load(connection, _NUMBERED, specs, {"job": number})[0]


def load(
    connection: Connection,
    wanted: Wanted,
    specs: SpecCache,
    values: dict[str, Any] | None = None,
    *,
    keep: bool = True,
    history: bool = True,
) -> list[TrainingJobRecord]:
    """Return the jobs that are wanted, in any order.

    Args:
        connection: Where they are.
        wanted: Which.
        specs: The specifications.
        values: Of the parameters of the condition.
        keep: Remember the specifications that were not known.
        history: Read transitions and hosts too.
    """
    given = values or {}
    rows = connection.execute(wanted.rows, given).mappings().all()
    if not rows:
        return []
    parsed = specs.load(connection, rows, keep=keep)
    steps: dict[int, list[Transition]] = defaultdict(list)
    machines: dict[int, list[HostRecord]] = defaultdict(list)
    if history:
        for row in connection.execute(wanted.transitions, given).mappings():
            steps[row["number"]].append(codec.transition_of(row))
        for row in connection.execute(wanted.hosts, given).mappings():
            machines[row["number"]].append(codec.host_of(row))
    return [
        codec.record_of(
            row,
            parsed[row["number"]],
            hosts=machines[row["number"]],
            transitions=steps[row["number"]],
        )
        for row in rows
    ]


def load_tags(connection: Connection, number: int) -> tuple[Tag, ...]:
    """Return the tags of a job."""
    query = (
        select(tags.c.key, tags.c.value).where(tags.c.number == number).order_by(tags.c.position)
    )
    return tuple(
        Tag.model_construct(key=key, value=value) for key, value in connection.execute(query)
    )


def load_tags_of(connection: Connection, names: Iterable[str]) -> dict[str, tuple[Tag, ...]]:
    """Return the tags of jobs by the key of their names."""
    found: dict[str, list[Tag]] = {}
    for keys in slices(sorted({rules.name_key(name) for name in names})):
        query = (
            select(jobs.c.name_key, tags.c.key, tags.c.value)
            .outerjoin(tags, tags.c.number == jobs.c.number)
            .where(jobs.c.name_key.in_(keys))
            .order_by(tags.c.position)
        )
        for name, key, value in connection.execute(query):
            mine = found.setdefault(name, [])
            if key is not None:
                mine.append(Tag.model_construct(key=key, value=value))
    return {name: tuple(mine) for name, mine in found.items()}


def as_asked(names: Iterable[str], found: Mapping[str, T]) -> dict[str, T]:
    """Return what was found under the keys of names under the names themselves."""
    keys = {name: rules.name_key(name) for name in names}
    return {name: found[key] for name, key in keys.items() if key in found}


def slices(values: Sequence[T], size: int = 500) -> list[Sequence[T]]:
    """Return parts that are few enough for one statement."""
    return [values[start : start + size] for start in range(0, len(values), size)]

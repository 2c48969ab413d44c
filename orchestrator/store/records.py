"""Reads whole jobs: four statements, however many jobs."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Sequence
from threading import Lock

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, or_, select, text

from orchestrator.errors import NotFound
from orchestrator.spec.job import Tag, TrainingJobSpec
from orchestrator.spec.record import HostRecord, TrainingJobRecord, Transition
from orchestrator.store import codec, rules
from orchestrator.store.tables import hosts, job_details, jobs, tags, transitions

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


class SpecCache:
    """Specifications never change: those of jobs that are read often are parsed once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._specs: OrderedDict[tuple[int, int], TrainingJobSpec] = OrderedDict()

    def load(
        self, connection: Connection, rows: Sequence[RowMapping]
    ) -> dict[int, TrainingJobSpec]:
        """Return the specifications of rows of ``jobs`` by job number."""
        with self._lock:
            known = {row["number"]: self._specs.get(_identity(row)) for row in rows}
        missing = {row["number"]: row for row in rows if known[row["number"]] is None}
        loaded = _load_specs(connection, missing)
        with self._lock:
            for number, spec in loaded.items():
                self._specs[_identity(missing[number])] = spec
            while len(self._specs) > _SPECS_KEPT:
                self._specs.popitem(last=False)
        return {n: spec for n, spec in known.items() if spec is not None} | loaded


def _identity(row: RowMapping) -> tuple[int, int]:
    return row["number"], row["accept_id"]


def _load_specs(connection: Connection, rows: dict[int, RowMapping]) -> dict[int, TrainingJobSpec]:
    specs: dict[int, TrainingJobSpec] = {}
    for numbers in _slices(list(rows)):
        query = select(job_details.c.number, job_details.c.spec).where(
            job_details.c.number.in_(numbers)
        )
        for number, stored in connection.execute(query):
            specs[number] = codec.decode_spec(rows[number]["name"], stored)
    return specs


def by_name(connection: Connection, name: str, specs: SpecCache) -> TrainingJobRecord:
    """Return the job of this name.

    Raises:
        NotFound: There is none.
    """
    found = load(connection, jobs.c.name_key == rules.name_key(name), specs)
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


def active(
    connection: Connection,
    scope: str,
    backends: Collection[str],
    specs: SpecCache,
    queued_limit: int,
) -> list[TrainingJobRecord]:
    """Return the jobs of a driver that have not ended, in its order."""
    waiting = jobs.alias("waiting")
    queued = (
        select(waiting.c.number)
        .where(
            text("waiting.live = 1"),
            waiting.c.scope.is_(None),
            waiting.c.backend.in_(sorted(backends)),
        )
        .order_by(waiting.c.turn, waiting.c.number)
        .limit(queued_limit)
    )
    mine = or_(jobs.c.scope == scope, jobs.c.number.in_(queued))
    found = load(connection, and_(LIVE, mine), specs)
    return sorted(found, key=lambda record: (-record.spec.priority, record.number))


def load(
    connection: Connection, condition: ColumnElement[bool], specs: SpecCache
) -> list[TrainingJobRecord]:
    """Return the jobs whose row meets a condition, in any order."""
    rows = connection.execute(_RECORD.where(condition)).mappings().all()
    if not rows:
        return []
    parsed = specs.load(connection, rows)
    steps = _load_transitions(connection, condition)
    machines = _load_hosts(connection, condition)
    return [
        codec.record_of(
            row,
            parsed[row["number"]],
            hosts=machines[row["number"]],
            transitions=steps[row["number"]],
        )
        for row in rows
    ]


def _load_transitions(
    connection: Connection, condition: ColumnElement[bool]
) -> dict[int, list[Transition]]:
    query = (
        select(transitions)
        .join(jobs, jobs.c.number == transitions.c.number)
        .where(condition)
        .order_by(transitions.c.number, transitions.c.position)
    )
    found: dict[int, list[Transition]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        found[row["number"]].append(codec.transition_of(row))
    return found


def _load_hosts(
    connection: Connection, condition: ColumnElement[bool]
) -> dict[int, list[HostRecord]]:
    query = (
        select(hosts)
        .join(jobs, and_(jobs.c.number == hosts.c.number, jobs.c.attempt == hosts.c.attempt))
        .where(condition)
        .order_by(hosts.c.number, hosts.c.rank)
    )
    found: dict[int, list[HostRecord]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        found[row["number"]].append(codec.host_of(row))
    return found


def load_tags(connection: Connection, number: int) -> tuple[Tag, ...]:
    """Return the tags of a job."""
    query = (
        select(tags.c.key, tags.c.value).where(tags.c.number == number).order_by(tags.c.position)
    )
    return tuple(
        Tag.model_construct(key=key, value=value) for key, value in connection.execute(query)
    )


def _slices(numbers: list[int], size: int = 500) -> list[list[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]

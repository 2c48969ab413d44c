"""Changes jobs: what the driver applies, what clients ask for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, insert, select, update

from orchestrator.errors import NotFound
from orchestrator.spec.job import Tag
from orchestrator.spec.record import Transition
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus, may_follow
from orchestrator.store import blocks, codec, counts, leases, names, records, rules
from orchestrator.store.base import JobUpdate
from orchestrator.store.tables import (
    hosts,
    idempotency_keys,
    job_details,
    jobs,
    resource_leases,
    tags,
    transitions,
)

_STATE = select(
    jobs.c.number,
    jobs.c.name,
    jobs.c.name_key,
    jobs.c.status,
    jobs.c.secondary_status,
    jobs.c.message,
    jobs.c.attempt,
    jobs.c.revision,
    jobs.c.stop_intent,
    jobs.c.created_us,
)
# Building a statement takes longer than running it; columns are set by the parameters' names.
_STATES = (
    _STATE.where(jobs.c.number.in_(bindparam("numbers", expanding=True)))
    .order_by(jobs.c.number)
    .with_for_update()
)
_UPDATE = update(jobs).where(
    jobs.c.number == bindparam("job"), jobs.c.revision == bindparam("seen")
)
_UPDATE_DETAILS = update(job_details).where(job_details.c.number == bindparam("job"))
_NOTES = select(job_details.c.notes).where(job_details.c.number == bindparam("job"))
_LAST = select(func.max(transitions.c.position)).where(transitions.c.number == bindparam("job"))
_ADD = insert(transitions)
_REMOVE_HOSTS = delete(hosts).where(
    hosts.c.number == bindparam("job"), hosts.c.attempt == bindparam("of_attempt")
)
_ADD_HOSTS = insert(hosts)
_CLOSE = (
    update(transitions)
    .where(transitions.c.number == bindparam("job"))
    .where(transitions.c.position == bindparam("place"))
    .where(transitions.c.ended_us.is_(None))
    .values(ended_us=bindparam("end_us"))
)


def apply(
    connection: Connection, updates: Sequence[JobUpdate], scope: str, now: datetime
) -> list[bool]:
    """Apply updates in order, each if its job still has the revision it was decided on.

    Raises:
        InvalidState: An update is illegal; the transaction must be given up.
    """
    wanted = sorted({change.number for change in updates})
    states = {row["number"]: dict(row) for row in _states(connection, wanted)}
    moved: dict[TrainingJobStatus, int] = dict.fromkeys(TrainingJobStatus, 0)
    touched: dict[int, int] = {}
    applied = []
    for change in updates:
        state = states.get(change.number)
        fits = state is not None and state["revision"] == change.revision
        applied.append(fits)
        if state is None or not fits:
            continue
        after = _apply_one(connection, change, state, scope, now)
        states[change.number] = after
        touched[change.number] = after["modified_us"]
        moved[TrainingJobStatus(state["status"])] -= 1
        moved[TrainingJobStatus(after["status"])] += 1
    if touched:
        blocks.touch(connection, touched.items())
        counts.add(connection, moved)
    return applied


def _states(connection: Connection, numbers: Iterable[int]) -> Sequence[RowMapping]:
    return connection.execute(_STATES, {"numbers": list(numbers)}).mappings().all()


def _apply_one(
    connection: Connection,
    change: JobUpdate,
    state: Mapping[str, Any],
    scope: str,
    now: datetime,
) -> dict[str, Any]:
    name = state["name"]
    status, secondary = rules.settle(
        name,
        TrainingJobStatus(state["status"]),
        SecondaryStatus(state["secondary_status"]),
        change,
    )
    values: dict[str, Any] = {
        "status": status.value,
        "secondary_status": secondary.value,
        "live": int(not status.is_terminal),
        "attempt": rules.check_attempt(name, state["attempt"], change),
        "message": codec.clean(rules.message_after(state["message"], change)),
        "revision": state["revision"] + 1,
        "modified_us": max(rules.to_us(now), state["created_us"]),
    }
    place = {"job": change.number, "seen": change.revision}
    connection.execute(_UPDATE, place | values | _given(change))
    append_transitions(connection, change.number, change.transitions)
    _replace_hosts(connection, change, values["attempt"])
    _write_details(connection, change)
    leases.move(connection, change, scope)
    return {**state, **values}


def _given(change: JobUpdate) -> dict[str, Any]:
    values = {
        "scope": change.scope,
        "end_reason": None if change.end_reason is None else change.end_reason.value,
        "failure_reason": (
            None if change.failure_reason is None else codec.clean(change.failure_reason)
        ),
        "training_started_us": codec.optional_us(change.training_started_at),
        "training_ended_us": codec.optional_us(change.training_ended_at),
        "ended_us": codec.optional_us(change.ended_at),
    }
    return {name: value for name, value in values.items() if value is not None}


def append_transitions(connection: Connection, number: int, added: Sequence[Transition]) -> None:
    """Add transitions behind those of a job and close the last one before."""
    if not added:
        return
    last = connection.execute(_LAST, {"job": number}).scalar_one()
    connection.execute(
        _CLOSE, {"job": number, "place": last, "end_us": rules.to_us(added[0].started_at)}
    )
    connection.execute(
        _ADD,
        [
            codec.transition_row(number, place, step)
            for place, step in enumerate(rules.chained(added), start=last + 1)
        ],
    )


def _replace_hosts(connection: Connection, change: JobUpdate, attempt: int) -> None:
    if change.hosts is None:
        return
    connection.execute(_REMOVE_HOSTS, {"job": change.number, "of_attempt": attempt})
    if change.hosts:
        connection.execute(
            _ADD_HOSTS,
            [codec.host_row(change.number, attempt, host) for host in change.hosts],
        )


def _write_details(connection: Connection, change: JobUpdate) -> None:
    values: dict[str, Any] = {}
    if change.artifacts is not None:
        values["artifacts"] = codec.encode_artifacts(change.artifacts)
    if change.final_metrics is not None:
        values["final_metrics"] = codec.encode_metrics(change.final_metrics)
    if change.explanation is not None:
        values["explanation"] = codec.encode_explanation(change.explanation)
    if change.notes:
        values["notes"] = _merged_notes(connection, change.number, change.notes)
    if values:
        connection.execute(_UPDATE_DETAILS, {"job": change.number} | values)


def _merged_notes(connection: Connection, number: int, notes: Mapping[str, str]) -> str:
    stored = connection.scalar(_NOTES, {"job": number})
    return codec.encode_json({**json.loads(stored or "{}"), **notes})


def request_stop(
    connection: Connection,
    name: str,
    *,
    intent: EndReason,
    grace_seconds: float | None,
    now: datetime,
    message: str,
) -> None:
    """Note a stop request, unless there is one or the job has ended.

    Raises:
        NotFound: There is no such job.
    """
    state = _state(connection, name)
    status = TrainingJobStatus(state["status"])
    if status.is_terminal or state["stop_intent"] is not None:
        return
    number, secondary = state["number"], SecondaryStatus(state["secondary_status"])
    modified_us = max(rules.to_us(now), state["created_us"])
    values: dict[str, Any] = {
        "status": TrainingJobStatus.STOPPING.value,
        "revision": state["revision"] + 1,
        "stop_intent": intent.value,
        "stop_requested_us": rules.to_us(now),
        "stop_grace_seconds": grace_seconds,
        "modified_us": modified_us,
    }
    if may_follow(secondary, SecondaryStatus.STOPPING):
        step = rules.stopping(now, _last_step(connection, number), state["attempt"], message)
        append_transitions(connection, number, [step])
        values |= {"secondary_status": step.status.value, "message": step.message}
    connection.execute(update(jobs).where(jobs.c.number == number).values(values))
    blocks.touch(connection, [(number, modified_us)])
    if status is not TrainingJobStatus.STOPPING:
        counts.add(connection, {status: -1, TrainingJobStatus.STOPPING: 1})


def _last_step(connection: Connection, number: int) -> datetime:
    """Return when the last transition of a job began."""
    query = select(func.max(transitions.c.started_us)).where(transitions.c.number == number)
    return rules.from_us(connection.execute(query).scalar_one())


def _state(connection: Connection, name: str) -> RowMapping:
    query = _STATE.where(jobs.c.name_key == rules.name_key(name)).with_for_update()
    state = connection.execute(query).mappings().first()
    if state is None:
        raise NotFound(rules.no_such_job(name))
    return state


def delete_job(connection: Connection, name: str) -> None:
    """Remove all rows of an ended job.

    Raises:
        NotFound: There is no such job.
        InvalidState: It has not ended, or still holds resources.
    """
    state = _state(connection, name)
    number, status = state["number"], TrainingJobStatus(state["status"])
    held = connection.execute(
        select(resource_leases.c.id).where(resource_leases.c.number == number).limit(1)
    ).first()
    rules.check_deletable(state["name"], status, holds_resources=held is not None)
    for table in (hosts, transitions, tags, idempotency_keys, job_details, jobs):
        connection.execute(delete(table).where(table.c.number == number))
    names.remove(connection, number, state["name_key"])
    counts.add(connection, {status: -1})


def set_tags(
    connection: Connection, name: str, put: Sequence[Tag], remove: Sequence[str]
) -> tuple[Tag, ...]:
    """Change the tags of a job and return them all.

    Raises:
        NotFound: There is no such job.
        LimitExceeded: There would be too many.
    """
    number = _state(connection, name)["number"]
    after = rules.merged_tags(records.load_tags(connection, number), put, remove)
    connection.execute(delete(tags).where(tags.c.number == number))
    if after:
        connection.execute(insert(tags), codec.tag_rows(number, after))
    return after

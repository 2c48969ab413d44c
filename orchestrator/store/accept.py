"""Accepts jobs, many in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from orchestrator.errors import AlreadyExists, OrchestratorError
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import SecondaryStatus, TrainingJobStatus
from orchestrator.store import blocks, codec, counts, names, records, rules
from orchestrator.store.base import IdempotencyKey
from orchestrator.store.tables import (
    idempotency_keys,
    job_details,
    jobs,
    tags,
    transitions,
)

_ACCEPT_ID_BITS = 62
# Building a statement takes longer than running it.
_OWNERS = select(jobs.c.name_key, jobs.c.accept_id).where(
    jobs.c.name_key.in_(bindparam("name_keys", expanding=True))
)
_KEYS = select(idempotency_keys).where(
    idempotency_keys.c.key.in_(bindparam("keys", expanding=True))
)
_NEWEST = select(jobs.c.created_max_us).order_by(jobs.c.created_max_us.desc()).limit(1)

Answer = TrainingJobRecord | OrchestratorError
"""What one caller gets: the job, or why there is none."""


@dataclass(frozen=True)
class Submission:
    """One call of ``create_job``, checked and encoded before the write lock is taken."""

    spec: TrainingJobSpec
    arn: str
    now: datetime
    idempotency: IdempotencyKey | None
    spec_json: str
    name_key: str
    notes: Mapping[str, str] = field(default_factory=dict)
    accept_id: int = field(default_factory=lambda: secrets.randbits(_ACCEPT_ID_BITS))


def submission(
    spec: TrainingJobSpec,
    *,
    arn: str,
    now: datetime,
    idempotency: IdempotencyKey | None,
    notes: Mapping[str, str] | None,
) -> Submission:
    """Check and encode one request.

    Raises:
        InvalidSpec: The idempotency key or a text of the specification cannot be stored.
    """
    rules.check_idempotency(idempotency)
    return Submission(
        spec=spec,
        arn=arn,
        now=now,
        idempotency=idempotency,
        spec_json=rules.encode_spec(spec),
        name_key=rules.name_key(spec.training_job_name),
        notes=dict(notes or {}),
    )


_New = tuple[Submission, TrainingJobRecord]


@dataclass
class _Known:
    """What the rows, and the members of this batch before, say."""

    owners: dict[str, int]  # name key -> accept id of who has the name
    keys: dict[str, tuple[str, int]]  # idempotency key -> fingerprint, job number
    accepted: dict[int, TrainingJobRecord] = field(default_factory=dict)


def accept(
    connection: Connection, batch: Sequence[Submission], specs: records.SpecCache
) -> list[Answer]:
    """Write all of a batch that can be accepted; answer each member.

    A member whose name was taken by itself, in a commit that we did not hear of, is accepted.
    """
    numbers = _Numbers(connection)  # first: on PostgreSQL its row lock makes a queue
    known = _Known(_owners(connection, batch), _known_keys(connection, batch))
    answers: list[Answer] = []
    new: list[_New] = []
    for member in batch:
        answer = _known_answer(connection, member, known, specs)
        if answer is None:
            answer = numbers.record(member)
            new.append((member, answer))
            _remember(member, answer, known)
        answers.append(answer)
    if new:
        _insert(connection, new, numbers)
    return answers


def find_idempotent(
    connection: Connection, key: IdempotencyKey, specs: records.SpecCache
) -> TrainingJobRecord | None:
    """Return the job that a key stands for, or None.

    Raises:
        AlreadyExists: The key stands for another request.
    """
    row = connection.execute(
        select(idempotency_keys).where(idempotency_keys.c.key == key.key)
    ).first()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise AlreadyExists(rules.key_reused(key.key))
    return records.numbered(connection, row.number, specs)


def _owners(connection: Connection, batch: Sequence[Submission]) -> dict[str, int]:
    wanted = {member.name_key for member in batch}
    rows = connection.execute(_OWNERS, {"name_keys": list(wanted)})
    return {row.name_key: row.accept_id for row in rows}


def _known_keys(connection: Connection, batch: Sequence[Submission]) -> dict[str, tuple[str, int]]:
    wanted = {member.idempotency.key for member in batch if member.idempotency}
    if not wanted:
        return {}
    rows = connection.execute(_KEYS, {"keys": list(wanted)})
    return {row.key: (row.fingerprint, row.number) for row in rows}


def _known_answer(
    connection: Connection, member: Submission, known: _Known, specs: records.SpecCache
) -> Answer | None:
    key = member.idempotency
    if key is not None and key.key in known.keys:
        fingerprint, number = known.keys[key.key]
        if fingerprint != key.fingerprint:
            return AlreadyExists(rules.key_reused(key.key))
        if number in known.accepted:
            return known.accepted[number]
        return records.numbered(connection, number, specs)
    owner = known.owners.get(member.name_key)
    if owner is None:
        return None
    if owner == member.accept_id:
        return records.by_name(connection, member.spec.training_job_name, specs)
    return AlreadyExists(rules.name_taken(member.spec.training_job_name))


def _remember(member: Submission, record: TrainingJobRecord, known: _Known) -> None:
    known.owners[member.name_key] = member.accept_id
    known.accepted[record.number] = record
    if member.idempotency is not None:
        known.keys[member.idempotency.key] = (member.idempotency.fingerprint, record.number)


class _Numbers:
    """Gives out numbers and creation times in order."""

    def __init__(self, connection: Connection) -> None:
        self.last = counts.queue_up(connection)
        newest_us = connection.scalar(_NEWEST)
        self._newest = codec.optional_time(newest_us)
        self.newest_us: dict[int, int] = {}

    def record(self, member: Submission) -> TrainingJobRecord:
        """Return the record of a job that is accepted now."""
        created_at = rules.creation_time(member.now, self._newest)
        if self._newest is None or created_at > self._newest:
            self._newest = created_at
        self.last += 1
        self.newest_us[self.last] = rules.to_us(self._newest)
        return TrainingJobRecord.model_construct(
            number=self.last,
            spec=member.spec,
            arn=member.arn,
            status=TrainingJobStatus.IN_PROGRESS,
            secondary_status=SecondaryStatus.PENDING,
            message=rules.PENDING_MESSAGE,
            created_at=created_at,
            modified_at=created_at,
            transitions=(rules.pending(created_at),),
            artifacts={},
            notes=dict(member.notes),
        )


def _insert(connection: Connection, new: Sequence[_New], numbers: _Numbers) -> None:
    rows = [_row(member, record, numbers.newest_us[record.number]) for member, record in new]
    connection.execute(insert(jobs), rows)
    connection.execute(
        insert(job_details),
        [_details_row(member, record.number) for member, record in new],
    )
    connection.execute(
        insert(transitions),
        [codec.transition_row(record.number, 0, record.transitions[0]) for _, record in new],
    )
    labels = [row for m, record in new for row in codec.tag_rows(record.number, m.spec.tags)]
    if labels:
        connection.execute(insert(tags), labels)
    keys = [_key_row(m.idempotency, record.number) for m, record in new if m.idempotency]
    if keys:
        connection.execute(insert(idempotency_keys), keys)
    names.add(connection, [(row["number"], row["name_key"]) for row in rows])
    blocks.touch(connection, [(row["number"], row["modified_us"]) for row in rows])
    counts.add(connection, {TrainingJobStatus.IN_PROGRESS: len(new)})
    counts.set_last_number(connection, numbers.last)
    counts.note_skew(connection, max(row["created_max_us"] - row["created_us"] for row in rows))


def _row(member: Submission, record: TrainingJobRecord, newest_us: int) -> dict[str, Any]:
    created_us = rules.to_us(record.created_at)
    return {
        "number": record.number,
        "name": member.spec.training_job_name,
        "name_key": member.name_key,
        "arn": member.arn,
        "backend": member.spec.backend,
        "turn": -member.spec.priority,
        "live": 1,
        "status": record.status.value,
        "secondary_status": record.secondary_status.value,
        "message": record.message,
        "attempt": 0,
        "revision": 0,
        "created_us": created_us,
        "created_max_us": newest_us,
        "modified_us": created_us,
        "accept_id": member.accept_id,
    }


def _details_row(member: Submission, number: int) -> dict[str, Any]:
    notes = codec.encode_json(member.notes) if member.notes else None
    return {"number": number, "spec": member.spec_json, "notes": notes}


def _key_row(key: IdempotencyKey, number: int) -> dict[str, Any]:
    return {"key": key.key, "fingerprint": key.fingerprint, "number": number}

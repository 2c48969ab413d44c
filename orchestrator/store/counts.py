"""Numbers kept in the transactions that change them: jobs per status, the last job number."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select, update

from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store.tables import counters

LAST_NUMBER = "last_number"
CLOCK_SKEW_US = "clock_skew_us"
"""The furthest that any job's creation time lies before that of a job accepted earlier."""
NAMES = (*(status.value for status in TrainingJobStatus), LAST_NUMBER, CLOCK_SKEW_US)

_QUEUE = select(counters.c.value).where(counters.c.name == LAST_NUMBER).with_for_update()
_SET = update(counters).where(counters.c.name == bindparam("counter"))
_ADD = _SET.values(value=counters.c.value + bindparam("more"))
_RAISE = _SET.where(counters.c.value < bindparam("to")).values(value=bindparam("to"))


def add(connection: Connection, changes: Mapping[TrainingJobStatus, int]) -> None:
    """Count jobs in and out of statuses; always in one order, so that rows lock without cycles."""
    rows = [
        {"counter": status.value, "more": changes[status]}
        for status in sorted(changes)
        if changes[status]
    ]
    if rows:
        connection.execute(_ADD, rows)


def by_status(connection: Connection) -> dict[TrainingJobStatus, int]:
    """Return the number of jobs per status."""
    values = {row.name: row.value for row in connection.execute(select(counters))}
    return {status: values[status.value] for status in TrainingJobStatus}


def queue_up(connection: Connection) -> int:
    """Make others who create something wait until the end of the transaction.

    Returns the last job number that was given out.
    """
    return int(connection.execute(_QUEUE).scalar_one())


def set_last_number(connection: Connection, number: int) -> None:
    """Note the last job number that was given out."""
    connection.execute(_RAISE, {"counter": LAST_NUMBER, "to": number})


def last_number(connection: Connection) -> int:
    """Return the last job number that was given out."""
    query = select(counters.c.value).where(counters.c.name == LAST_NUMBER)
    return int(connection.execute(query).scalar_one())


def note_skew(connection: Connection, skew_us: int) -> None:
    """Note how far the clock ran backwards; mostly it did not."""
    if skew_us > 0:
        connection.execute(_RAISE, {"counter": CLOCK_SKEW_US, "to": skew_us})


def skew_us(connection: Connection) -> int:
    """Return how far the clock ever ran backwards, in microseconds."""
    query = select(counters.c.value).where(counters.c.name == CLOCK_SKEW_US)
    return int(connection.execute(query).scalar_one())

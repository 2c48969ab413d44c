"""Driver leases and resource leases."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Executable, bindparam, delete, insert, select, text, update

from orchestrator.errors import StaleLock
from orchestrator.store import codec, rules
from orchestrator.store.base import DriverLease, JobUpdate, ResourceLease
from orchestrator.store.tables import drivers, resource_leases

_NOBODY = text(
    "INSERT INTO drivers (scope, owner, token, expires_us, applies) "
    "VALUES (:scope, NULL, 0, 0, 0) ON CONFLICT (scope) DO NOTHING"
)

_CHANGE = (
    update(drivers)
    .where(drivers.c.scope == bindparam("of_scope"))
    .where(drivers.c.token == bindparam("with_token"))
    .where(drivers.c.owner.is_not(None))
    .returning(drivers.c.applies)
)
_FENCE = _CHANGE.values(applies=drivers.c.applies + 1)
_RENEW = _CHANGE.values(expires_us=bindparam("until"))
_HELD = (
    select(resource_leases)
    .where(resource_leases.c.scope == bindparam("of_scope"))
    .order_by(
        resource_leases.c.number,
        resource_leases.c.rank,
        resource_leases.c.kind,
        resource_leases.c.unit,
    )
)
_GIVE_BACK = delete(resource_leases).where(resource_leases.c.number == bindparam("job"))


def acquire(
    connection: Connection,
    scope: str,
    *,
    owner: str,
    now: datetime,
    ttl_seconds: float,
    force: bool,
) -> DriverLease | None:
    """Take the lease of a scope with a new token, or None while another owner's lease holds."""
    connection.execute(_NOBODY, {"scope": scope})
    row = connection.execute(
        select(drivers).where(drivers.c.scope == scope).with_for_update()
    ).one()
    expires_at = now + timedelta(seconds=ttl_seconds)
    expires_us = rules.to_us(expires_at)
    held = row.owner not in {None, owner} and row.expires_us > rules.to_us(now)
    if held and not force:
        return None
    connection.execute(
        update(drivers)
        .where(drivers.c.scope == scope)
        .values(owner=owner, token=row.token + 1, expires_us=expires_us)
    )
    return DriverLease(scope, owner, row.token + 1, expires_at)


def renew(
    connection: Connection, lease: DriverLease, *, now: datetime, ttl_seconds: float
) -> DriverLease:
    """Extend a lease.

    Raises:
        StaleLock: Somebody else holds it now.
    """
    expires_at = now + timedelta(seconds=ttl_seconds)
    _change(connection, lease, _RENEW, until=rules.to_us(expires_at))
    return replace(lease, expires_at=expires_at)


def release(connection: Connection, lease: DriverLease) -> None:
    """Give a lease back; the token is used up."""
    connection.execute(
        update(drivers)
        .where(drivers.c.scope == lease.scope, drivers.c.token == lease.token)
        .values(owner=None, token=lease.token + 1)
    )


def fence(connection: Connection, lease: DriverLease) -> int:
    """Hold the lease's row until the end of the transaction; return the count of applies.

    Raises:
        StaleLock: Somebody else holds the lease now.
    """
    return _change(connection, lease, _FENCE)


def applies(connection: Connection, lease: DriverLease) -> int | None:
    """Return how many transactions of apply a lease's scope has seen; None when it is stale."""
    query = select(drivers.c.applies).where(
        drivers.c.scope == lease.scope, drivers.c.token == lease.token
    )
    return connection.scalar(query)


def _change(connection: Connection, lease: DriverLease, change: Executable, **values: int) -> int:
    mine = {"of_scope": lease.scope, "with_token": lease.token}
    row = connection.execute(change, mine | values).first()
    if row is None:
        raise StaleLock(rules.stale_lease(lease))
    return int(row.applies)


def held(connection: Connection, scope: str) -> list[ResourceLease]:
    """Return the resource leases under a scope."""
    rows = connection.execute(_HELD, {"of_scope": scope}).mappings()
    return [codec.lease_of(row) for row in rows]


def move(connection: Connection, change: JobUpdate, scope: str) -> None:
    """Release and take resources, as an update says.

    Raises:
        InvalidState: A GPU is held by another job.
    """
    if change.release:
        connection.execute(_GIVE_BACK, {"job": change.number})
    if not change.take:
        return
    present = held(connection, scope)
    for wanted in change.take:
        rules.check_take(present, wanted, scope)
        present.append(wanted)
    connection.execute(
        insert(resource_leases), [codec.lease_row(scope, wanted) for wanted in change.take]
    )

"""Finding the job somebody means: a name, the beginning of one, or ``@last``."""

from __future__ import annotations

import difflib
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec, NotFound, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.sdk.transport import Transport
    from orchestrator.sdk.tuning_job import TuningJob

LAST = "@last"
CANDIDATES = 200
SHOWN = 5


@contextmanager
def connected(home: Path | None, url: str | None) -> Iterator[Transport]:
    """Give a transport to the service and close it afterwards."""
    from orchestrator.sdk.transport import connect

    transport = connect(url, home=home.expanduser().absolute() if home else None)
    try:
        yield transport
    finally:
        transport.close()


def local_home(home: Path | None, url: str | None) -> Path | None:
    """Return the home directory that is meant, or None when a service elsewhere is.

    A service of this very home, named by ``$ORCHESTRATOR_URL``, is here.
    """
    from orchestrator.cli.environment import running_service
    from orchestrator.home import home_directory
    from orchestrator.sdk.transport import URL_VARIABLE

    place = home.expanduser().absolute() if home else home_directory()
    named = url or os.environ.get(URL_VARIABLE)
    if named is None or named.rstrip("/") == running_service(place):
        return place
    return None


def find_job(transport: Transport, name: str) -> dict[str, Any]:
    """Return the record of the job that is meant.

    Raises:
        NotFound: There is none.
        InvalidSpec: The beginning fits several.
    """
    if name == LAST:
        return transport.describe(_newest(transport))
    try:
        return transport.describe(name)
    except NotFound:
        return transport.describe(_by_beginning(transport, name))


def find_either(transport: Transport, name: str) -> dict[str, Any] | TuningJob:
    """Return the record of the training job, or the tuning job, that is meant.

    A whole name goes before the beginning of one: training jobs begin as their tuning job is
    called.

    Raises:
        NotFound: There is neither.
        InvalidSpec: The beginning fits several training jobs.
    """
    if name == LAST:
        return find_job(transport, name)
    with suppress(NotFound):
        return transport.describe(name)
    from orchestrator.sdk.tuning_job import TuningJob

    with suppress(NotFound):
        return TuningJob.get(name, transport)
    return find_job(transport, name)


def find_tuning_job(transport: Transport, name: str) -> TuningJob:
    """Return the tuning job that is meant.

    Raises:
        NotFound: There is none.
    """
    from orchestrator.sdk.tuning_job import TuningJob

    if name == LAST:
        rows = transport.tunings.list(limit=1)["jobs"]
        if not rows:
            raise NotFound(
                "@last needs at least one tuning job, there is none yet; begin one with "
                "`orchestrator tune`"
            )
        name = rows[0]["spec"]["tuning_job_name"]
    return TuningJob.get(name, transport)


def _newest(transport: Transport) -> str:
    rows = transport.list_jobs(limit=1)["jobs"]
    if not rows:
        raise NotFound(
            "@last needs at least one job, there is none yet; start one with `orchestrator run`"
        )
    name: str = rows[0]["name"]
    return name


def _by_beginning(transport: Transport, name: str) -> str:
    rows = transport.list_jobs(name_contains=name, limit=CANDIDATES)["jobs"] if name else []
    fitting = [row["name"] for row in rows if row["name"].startswith(name)]
    if len(fitting) == 1:
        only: str = fitting[0]
        return only
    if fitting:
        shown = ", ".join(fitting[:SHOWN]) + (", …" if len(fitting) > SHOWN else "")
        raise InvalidSpec(
            f"JOB must fit one job, {name!r} begins {shown}; {_which(transport, name)}"
        )
    raise NotFound(f"JOB must name a training job, got {name!r}; {_advice(transport, name)}")


def _which(transport: Transport, name: str) -> str:
    """Return what to type instead of a beginning that fits several: the best, of a tuning job."""
    from orchestrator.sdk.tuning_job import TuningJob

    with suppress(OrchestratorError):  # a hint must not take the answer's place
        best = TuningJob.get(name, transport).overview.best
        if best is not None:
            return f"it is a tuning job, whose best training job is {best.job_name}"
    return "type more of it"


def _advice(transport: Transport, name: str) -> str:
    known = [row["name"] for row in transport.list_jobs(limit=CANDIDATES)["jobs"]]
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else "see `orchestrator list`"

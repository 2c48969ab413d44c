"""What a new driver does first: it cleans up after attempts whose driver died before it could."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from orchestrator.errors import NotFound, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from orchestrator.backends.base import Backend
    from orchestrator.scheduler.workspace import Workspace
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.store.base import Store

logger = logging.getLogger(__name__)


def release_leftovers(
    store: Store,
    workspace: Workspace,
    backends: Mapping[str, Backend],
    present: Collection[tuple[str, int]] = (),
) -> None:
    """Release every marked attempt that is not a job's present one any more. Idempotent.

    What cannot be released now (an engine that does not answer) stays marked for the next time.

    Args:
        store: The state.
        workspace: The marks.
        backends: By name.
        present: Name and attempt of placed jobs, as far as they are known: each of the others
            costs a question to the store.
    """
    for name, attempt in workspace.marked():
        if (name, attempt) in present:
            continue
        try:
            job = store.get_job(name)
        except NotFound:
            workspace.forget_mark(name, attempt)
            continue
        if not job.status.is_terminal and (
            attempt > job.attempt or (attempt == job.attempt and job.hosts)
        ):
            continue  # after a restored backup an attempt may be one that the store will know again
        if workspace.is_anothers(job):
            workspace.forget_mark(name, attempt)
            continue
        _release(job.model_copy(update={"attempt": attempt}), workspace, backends)


def _release(
    past: TrainingJobRecord, workspace: Workspace, backends: Mapping[str, Backend]
) -> None:
    backend = backends.get(past.spec.backend)
    if backend is None:
        return
    try:
        backend.release(workspace.context(past))
    except OrchestratorError as error:
        logger.warning("cleaning up after %s: %s", past.name, error.message)
        return
    workspace.unmark(past)

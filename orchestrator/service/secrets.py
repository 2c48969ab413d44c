"""Values of secrets: there before a job is accepted, gone when it has ended, whoever is killed when.

The store decides who needs them. Of several processes one at a time keeps or removes values, and
looks into the store while it does: so nobody removes those of a job that is just being accepted,
and a job that is refused has not touched those of the accepted one of its name.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError, StoreError, Unavailable
from orchestrator.service.file_lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from orchestrator.scheduler.secret_files import SecretFiles
    from orchestrator.spec.state import TrainingJobStatus

LOCK_FILE = "lock"
PATIENCE_SECONDS = 30.0
"""As long as for the lock of the store."""

logger = logging.getLogger(__name__)


class Secrets:
    """The values of secrets of one kind of jobs.

    Args:
        files: Where they are.
        statuses: Returns the statuses of those of some jobs that were accepted.
        sweep_patience_seconds: How long removing waits for its turn; it is tried again later.
    """

    def __init__(
        self,
        files: SecretFiles,
        statuses: Callable[[Sequence[str]], Mapping[str, TrainingJobStatus]],
        sweep_patience_seconds: float = 1.0,
    ) -> None:
        self._files = files
        self._statuses = statuses
        self._sweep_patience_seconds = sweep_patience_seconds
        self._turn = threading.Lock()
        self._trouble = ""

    @contextmanager
    def kept(self, name: str, values: Mapping[str, str]) -> Iterator[None]:
        """Keep values while a job is being accepted, but never instead of an accepted one's.

        A job that is not accepted leaves nothing.

        Raises:
            StoreError: They cannot be written.
            Unavailable: Another process keeps its turn.
        """
        if not values:
            yield
            return
        with self._alone(PATIENCE_SECONDS):
            if self._statuses([name]):
                yield  # refused, or the same request once more
                return
            try:
                with _told():
                    self._files.write(name, values)
                yield
            except BaseException:
                with suppress(OrchestratorError):  # else they are swept later
                    if not self._statuses([name]):
                        self._files.forget(name)
                raise

    def read(self, name: str) -> dict[str, str]:
        """Return the values of a job that needs them.

        Raises:
            Unavailable: They cannot be read now.
        """
        try:
            return self._files.read(name)
        except OSError as error:
            raise Unavailable(
                f"the secrets of {name!r} cannot be read: {error.strerror}; check the owner of "
                "the home directory"
            ) from error

    def let_go(self, name: str) -> None:
        """Remove the values of a job that has ended, unless another one has its name by now.

        Raises:
            StoreError, Unavailable: They cannot be removed now; to be tried again.
        """
        if self._files.has(name):
            with self._alone(self._sweep_patience_seconds), _told():
                self._forget_unneeded([name])

    def sweep(self, *, needed: Collection[str] = ()) -> bool:
        """Remove all values that no job needs: of those that have ended, or were never accepted.

        Args:
            needed: Jobs that are known to need theirs.

        Returns:
            Whether that is done; another process or the disk may prevent it for now.
        """
        if self._files.is_empty() or (needed and set(self._files.names()) <= set(needed)):
            return True
        try:
            with self._alone(self._sweep_patience_seconds), _told():
                self._forget_unneeded(self._files.names())
                self._files.forget_partial()
        except (StoreError, Unavailable) as error:
            if error.message != self._trouble:  # once, not every second
                logger.warning("secrets that may not be needed any more stay: %s", error.message)
            self._trouble = error.message
            return False
        self._trouble = ""
        return True

    def _forget_unneeded(self, names: Sequence[str]) -> None:
        statuses = self._statuses(names)
        for name in names:
            if name not in statuses or statuses[name].is_terminal:
                self._files.forget(name)

    @contextmanager
    def _alone(self, patience_seconds: float) -> Iterator[None]:
        if not self._turn.acquire(timeout=patience_seconds):
            raise _busy(patience_seconds)
        try:
            with _told():
                self._files.prepare()
            lock = FileLock(self._files.directory / LOCK_FILE)
            if not lock.acquire(patience_seconds):
                raise _busy(patience_seconds)
            try:
                yield
            finally:
                lock.release()
        finally:
            self._turn.release()


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the disk refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"secrets are kept in the home directory until the job ends, and cannot be read or "
            f"written: {error.strerror}; check the free space (df, df -i) and the owner"
        ) from error


def _busy(seconds: float) -> Unavailable:
    return Unavailable(
        f"secrets are written by one process at a time, another one has kept its turn for "
        f"{seconds:.0f} s; try again (its process id is in the file {LOCK_FILE!r} beside them)"
    )

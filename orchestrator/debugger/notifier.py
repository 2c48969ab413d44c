"""Tells findings to who asked for it: a loop over the same store that never calls a back end.

``untold/<job>`` in the home directory is made before a job can find anything, and removed when it
has ended and everything was told or given up. What was told is in the job's folder.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.clock import Clock
from orchestrator.debugger.deliveries import Message, blank, messages, note, read_noted
from orchestrator.debugger.lines import read_lines
from orchestrator.debugger.post import PostFailed
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.home import UNTOLD_DIRECTORY
from orchestrator.spec.debug import Debugger
from orchestrator.spec.findings import Delivery
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.store.base import Store

logger = logging.getLogger(__name__)

Post = Callable[[str, dict[str, Any]], None]
"""Sends a value to an address; raises PostFailed."""
PAUSE_SECONDS = (1.0, 4.0, 15.0, 60.0)
"""Between the tries of one message; after the last one it is given up."""
LOOK_SECONDS = 1.0
"""How often the files of jobs are looked at that may find something."""
NO_WEBHOOK = (
    "ORCHESTRATOR_WEBHOOK_URL must be set to tell anything by e-mail or SMS, it is not; set it to "
    "an address that takes JSON by POST, and restart the service"
)


@dataclass
class _Addressee:
    """How an address behaves, for one job.

    Attributes:
        not_before: When it is tried next, by the monotonic clock.
        is_given_up: It failed to the end once: further messages get one try each.
    """

    not_before: float = float("-inf")
    is_given_up: bool = False


class Notifier:
    """Tells findings.

    Args:
        store: The state.
        home: The home directory.
        clock: The time.
        post: Sends a message.
        webhook_url: Gets what is to be told by e-mail or SMS; None = nothing of that is told.
        is_anothers: Whether a job's folder is that of a forgotten job of its name.
    """

    def __init__(
        self,
        store: Store,
        home: Path,
        clock: Clock,
        post: Post,
        *,
        webhook_url: str | None = None,
        is_anothers: Callable[[TrainingJobRecord], bool] = lambda _job: False,
    ) -> None:
        self._store = store
        self._jobs = home / "jobs"
        self._marks = home / UNTOLD_DIRECTORY
        self._clock = clock
        self._post = post
        self._webhook_url = webhook_url
        self._is_anothers = is_anothers
        self._known: dict[str, dict[str, _Addressee]] = {}
        self._closing = threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    # -- the thread ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; returns at once."""
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the present message. Idempotent."""
        self._closing.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wake(self) -> None:
        """Say that a job has changed; from any thread."""
        self._woken.set()

    def has_work(self) -> bool:
        """Return whether anything may still have to be told."""
        return bool(self._marked())

    def _run(self) -> None:
        while not self._closing.is_set():
            self._woken.clear()
            try:
                self.look()
            except OrchestratorError as error:
                logger.warning("the store does not answer: %s", error.message)
            except Exception:
                logger.exception("findings could not be told")
            if self.has_work():
                self._closing.wait(LOOK_SECONDS)
            else:
                self._woken.wait()

    # -- one look --------------------------------------------------------------------------

    def look(self) -> None:
        """Tell what is new and due of all jobs.

        Raises:
            StoreError: The store does not answer.
        """
        marked = self._marked()
        for gone in self._known.keys() - marked:
            del self._known[gone]
        for name in marked:
            if self._closing.is_set():
                return
            if self._look_at(name):
                (self._marks / name).unlink(missing_ok=True)

    def _marked(self) -> set[str]:
        try:
            return {path.name for path in self._marks.iterdir()}
        except FileNotFoundError:
            return set()

    def _look_at(self, name: str) -> bool:
        """Tell what is new of one job; return whether nothing is to come."""
        addressees = self._known.setdefault(name, {})
        try:
            job = self._store.get_job(name)
        except NotFound:
            return True
        debugger = job.spec.debugger
        if debugger is None or not debugger.tells_somebody or self._is_anothers(job):
            return True
        ended = job.status.is_terminal  # what it found was written before its end was
        return self._tell(job, debugger, addressees) and ended

    def _tell(
        self, job: TrainingJobRecord, debugger: Debugger, addressees: dict[str, _Addressee]
    ) -> bool:
        """Send what is due; return whether everything so far was told or given up."""
        directory = self._jobs / job.name
        noted = read_noted(directory)
        is_done = True
        for message in messages(debugger, read_lines(directory, job).findings):
            before = noted.get(message.key) or blank(message, debugger)
            if before.delivered or before.final:
                continue
            addressee = addressees.setdefault(message.to, _Addressee())
            if self._clock.monotonic() < addressee.not_before or self._closing.is_set():
                is_done = False
                continue
            after = self._try(job, debugger, message, before, addressee)
            noted[message.key] = after
            note(directory, noted)
            is_done = is_done and (after.delivered or after.final)
        return is_done

    def _try(
        self,
        job: TrainingJobRecord,
        debugger: Debugger,
        message: Message,
        before: Delivery,
        addressee: _Addressee,
    ) -> Delivery:
        url = debugger.webhook if message.to == "webhook" else self._webhook_url
        if url is None:
            return before.model_copy(update={"error": NO_WEBHOOK, "final": True})
        tries = before.tries + 1
        try:
            self._post(url, content(job, message))
        except PostFailed as error:
            final = error.is_final or addressee.is_given_up or tries > len(PAUSE_SECONDS)
            if final:
                addressee.is_given_up = True
            else:
                addressee.not_before = self._clock.monotonic() + PAUSE_SECONDS[tries - 1]
            return before.model_copy(update={"tries": tries, "error": str(error), "final": final})
        return before.model_copy(update={"tries": tries, "delivered": True, "error": ""})


def content(job: TrainingJobRecord, message: Message) -> dict[str, Any]:
    """Return what is sent: the finding, of which job, and whom it is for."""
    kind, _, address = message.to.partition(":")
    value: dict[str, Any] = {
        "id": f"{job.name}/{message.key}",
        "job": job.name,
        "job_arn": job.arn,
        "status": job.status.value,
        "finding": message.finding.model_dump(mode="json"),
    }
    if address:
        name = "email" if kind == "mailto" else "sms"
        value["action"] = {"name": name, "endpoint": address}
    return value

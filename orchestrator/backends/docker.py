"""The Docker back end: every host is a container, with the supervisor as its first process.

The container's name is the fence: creating it twice is a conflict, and the one that is there is
adopted. The host directory says what happens inside; the engine is the witness from outside (see
``docker_witness``). An engine that does not answer proves nothing.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator_runtime import contract

from orchestrator.backends import (
    claims,
    docker_leftovers,
    docker_outside,
    docker_records,
    inputs,
    staging,
)
from orchestrator.backends.base import (
    AttemptContext,
    Backend,
    Capabilities,
    Handle,
    Observation,
    attempt_directory,
)
from orchestrator.backends.docker_admission import check_job
from orchestrator.backends.docker_engine import Engine, Refused
from orchestrator.backends.docker_events import EventWatch
from orchestrator.backends.docker_leftovers import Leftover
from orchestrator.backends.docker_outside import OutsideSupervisors
from orchestrator.backends.docker_plan import host_request, program_argv
from orchestrator.backends.docker_probe import ImageProbe
from orchestrator.backends.docker_requirements import installed
from orchestrator.backends.docker_stage import (
    hand_over,
    host_directories,
    make_readable,
    stage_host,
)
from orchestrator.backends.docker_values import (
    LABEL_ATTEMPT,
    LABEL_HOME,
    LABEL_IDENTITY,
    LABEL_JOB,
    DockerSettings,
    HostRequest,
    Installed,
    Surroundings,
    attempt_name,
    container_name,
    container_user,
    shared_network_name,
)
from orchestrator.backends.docker_witness import Witness
from orchestrator.clock import Clock, SystemClock
from orchestrator.errors import BackendError, EngineUnreachable, InvalidSpec
from orchestrator.failpoints import failpoint
from orchestrator.packaging.requirements import mark_used

if TYPE_CHECKING:
    from orchestrator_runtime.contract import StopRequest

    from orchestrator.spec.job import TrainingJobSpec

__all__ = ["DockerBackend", "DockerSettings"]

ADOPT_SECONDS = 5.0
"""How long another driver may take to create a container whose name it has taken."""


class DockerBackend(Backend):
    """Runs hosts as containers of one engine.

    Args:
        settings: Its surroundings.
        fetch: Downloads object channels.
        wake: Called from another thread when a container has ended: looking is worth while.
        clock: Measures deadlines and pauses.
    """

    name = "docker"

    def __init__(
        self,
        settings: DockerSettings,
        fetch: inputs.InputFetcher,
        wake: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._fetch = fetch
        clock = clock or SystemClock()
        self._engine = Engine(settings.base_url, settings.timeout_seconds, clock)
        self._events = EventWatch(self._engine, str(settings.home), wake, clock)
        self._outside = OutsideSupervisors(settings)
        self._witness = Witness(settings, self._engine, self._outside, clock)
        self._networks: set[str] = set()
        self._shares_network = False
        self._lock = threading.Lock()

    # -- what can be done ------------------------------------------------------------------

    @cached_property
    def _user(self) -> tuple[int, int]:
        rootless = self._engine.facts().rootless
        return container_user(
            self._settings.profile, os.geteuid(), os.getegid(), rootless=rootless
        )

    @cached_property
    def _probe(self) -> ImageProbe:
        make_readable(self._settings.runtime)
        return ImageProbe(self._engine, self._settings, self._user)

    def capabilities(self) -> Capabilities:
        """Return what can be done here; asks the engine whether it is there."""
        missing: tuple[str, ...] = ()
        try:
            self._engine.check_answers()
        except BackendError as error:
            missing = (error.message,)
        return Capabilities(
            isolation="container",
            serves_opt_ml=True,
            network_isolation=True,
            limits_memory=True,
            missing=missing,
        )

    def check(self, spec: TrainingJobSpec) -> tuple[str, ...]:
        """Check image, resources and paths; see the interface.

        Raises:
            EngineUnreachable: The engine does not answer.
        """
        warnings = check_job(spec, self._settings, self._engine.facts(), self._user)
        if self._settings.pull:
            return warnings
        image = self._probe.look(spec.algorithm_specification.training_image or "")
        known = self._probe.known(image)
        if known is None or known.python is not None:
            return warnings
        program_argv(spec, known, None)
        return (*warnings, docker_outside.NOTICE.format(image=image.reference))

    def has_image(self, reference: str) -> bool:
        """Return whether the engine has an image; false where none answers."""
        try:
            return self._engine.image(reference) is not None
        except BackendError:
            return False

    # -- plan ------------------------------------------------------------------------------

    def plan(self, context: AttemptContext) -> dict[str, dict[str, Any]]:
        """Return the literal requests; an image that was never seen is tried first."""
        around = self._surroundings(context)
        return {
            member.host: host_request(around, context, member.host).printable()
            for member in context.hosts
        }

    def _surroundings(self, context: AttemptContext) -> Surroundings:
        image = self._probe.facts(_image_of(context))
        return Surroundings(
            settings=self._settings,
            engine=self._engine.facts(),
            image=image,
            user=self._user,
            notify=_listening(self._settings.notify),
            relays=_sockets(self._settings.relay),
            installed=installed(self._settings, context, image),
        )

    # -- from stage to start ---------------------------------------------------------------

    def stage(self, context: AttemptContext) -> None:
        """Write every host's tree; a host whose container is there already is left alone."""
        failpoint("stage.before_inputs")
        self._probe.make_sure(_image_of(context))
        around = self._surroundings(context)
        alone = context.spec.enable_network_isolation and len(context.hosts) == 1
        for member in context.hosts:
            directory = context.host_directory(member.host)
            if claims.is_claimed(directory) or self._is_created(context, member.host):
                continue
            stage_host(
                context,
                member.host,
                network_interface="lo" if alone else "eth0",
                fetch=self._fetch,
                user=self._user,
            )
            if not around.inside:
                notice = docker_outside.NOTICE.format(image=around.image.reference)
                log = directory / contract.LOG_FILE
                log.write_text(f"[orchestrator] {notice}\n", encoding="utf-8")
                if context.spec.debugger is not None:
                    docker_outside.tell_unmonitored(directory, around.image.reference)
        if around.installed is not None:
            self._make_environment(around.installed)
        failpoint("stage.after_inputs")

    def _make_environment(self, wanted: Installed) -> None:
        """Make the place for the requirements, or note that they are used once more."""
        if wanted.directory is None:
            return
        wanted.directory.mkdir(parents=True, exist_ok=True)
        if wanted.install is None:
            mark_used(wanted.directory)
        else:
            hand_over(wanted.directory, self._user)

    def _is_created(self, context: AttemptContext, host: str) -> bool:
        state = self._engine.container(container_name(self._settings, context, host))
        return state is not None and state.labels.get(LABEL_IDENTITY) == context.identity

    def start(self, context: AttemptContext, host: str) -> Handle:
        """Create and start the host's container, or adopt the one that is there."""
        directory = context.host_directory(host)
        handle = {"container": container_name(self._settings, context, host)}
        self._events.start()
        failpoint("start.before_plan")
        if claims.is_claimed(directory):
            return handle
        request = host_request(self._surroundings(context), context, host)
        staging.write_json(directory / contract.PLAN_FILE, request.plan, owner=self._owner)
        failpoint("start.after_plan")
        self._make_network(request)
        try:
            if request.inside:
                self._launch(request, context, directory)
            else:
                self._outside.spawn(directory, request)
        except BackendError:
            if _is_wanted(directory):
                raise
        if claims.never_starts(directory) and len(context.spec.hosts) > 1 and request.network:
            # Stopped meanwhile, and perhaps cleaned up after, before there was a network.
            self._engine.remove_network(request.network["name"])
            self._networks.discard(request.network["name"])
        failpoint("start.after_spawn")
        return handle

    @property
    def _owner(self) -> tuple[int, int] | None:
        return self._user if os.geteuid() == 0 else None

    def _make_network(self, request: HostRequest) -> None:
        if request.network is None:
            return
        name = request.network["name"]
        self._shares_network |= name == shared_network_name(self._settings)
        with self._lock:
            if name not in self._networks:
                self._engine.create_network(request.network)
                self._networks.add(name)

    def _launch(self, request: HostRequest, context: AttemptContext, directory: Path) -> None:
        found = self._create(request, context)
        if found == "started":
            return
        if found == "made" and not _is_wanted(directory):
            # Decided meanwhile, by a stop or a later driver; who cleans up may have looked already.
            self._engine.remove(request.name)
            return
        try:
            self._engine.start(request.name)
        except Refused as error:
            if error.status != 404 or "network" not in error.message or request.network is None:
                raise
            self._networks.discard(request.network["name"])  # somebody removed it
            self._make_network(request)
            self._engine.start(request.name)

    def _create(
        self, request: HostRequest, context: AttemptContext
    ) -> Literal["made", "found", "started"]:
        """Create a container, or adopt the one of this name, which somebody may have started."""
        deadline = time.monotonic() + ADOPT_SECONDS
        while not self._engine.create(request.name, request.create):
            state = self._engine.container(request.name)
            if state is None:  # the name is taken before the container can be seen
                if time.monotonic() > deadline:
                    raise BackendError(f"container {request.name} can be neither made nor found")
                time.sleep(0.02)
            elif state.labels.get(LABEL_IDENTITY) == context.identity:
                # A container is started once.
                return "found" if state.status == "created" else "started"
            elif not state.running:  # the name was used before, by a job that is forgotten
                self._engine.remove(request.name)
            else:
                raise BackendError(
                    f"container {request.name} must be gone before this job can start, it still "
                    "runs for an earlier job of the same name that the store does not know; end "
                    f"it (docker stop {request.name}) or use another name"
                )
        return "made"

    # -- observe and stop ------------------------------------------------------------------

    def observe(self, context: AttemptContext, host: str, handle: Handle | None) -> Observation:
        """Look at one host; see ``docker_witness``."""
        return self._witness.observe(context, host, handle)

    def stop(
        self, context: AttemptContext, host: str, handle: Handle | None, request: StopRequest
    ) -> None:
        """Leave the request in the host directory and wake the supervisor."""
        del handle
        directory = context.host_directory(host)
        directory.mkdir(parents=True, exist_ok=True)
        failpoint("stop.before_signal")
        staging.write_json(directory / contract.STOP_FILE, request, owner=self._owner)
        self._witness.note_stop(directory, request)
        if claims.claim_stopped(directory, context, host, request):
            return
        if docker_outside.is_outside(directory):
            docker_outside.ask_to_stop(directory)
        else:
            # To the engine's init, which passes it on to the supervisor.
            self._engine.signal(container_name(self._settings, context, host), "SIGTERM")
        failpoint("stop.after_signal")

    # -- clean-up --------------------------------------------------------------------------

    def release(self, context: AttemptContext) -> None:
        """Remove containers, the attempt's network and all files but records and artifacts."""
        failpoint("cleanup.before_remove")
        job, attempt = context.spec.training_job_name, context.attempt
        directories = host_directories(attempt_directory(context.job_directory, attempt))
        for directory in directories:
            if docker_outside.is_outside(directory):
                docker_outside.end(directory)
        for state in self._engine.containers(
            [
                f"{LABEL_HOME}={self._settings.home}",
                f"{LABEL_JOB}={job}",
                f"{LABEL_ATTEMPT}={attempt}",
                f"{LABEL_IDENTITY}={context.identity}",
            ]
        ):
            self._engine.remove(state.name)
        if len(context.spec.hosts) > 1:
            network = attempt_name(self._settings, job, attempt)
            self._engine.remove_network(network)
            self._networks.discard(network)
        else:
            self._shares_network = True  # made by a predecessor, perhaps
        for directory in directories:
            docker_records.discard_all_but_records(directory)
            self._outside.reap()
            self._witness.forget(directory)
        inputs.discard_inputs(context)
        failpoint("cleanup.after_remove")

    def find_leftovers(self) -> list[Leftover]:
        """Return everything on the engine that belongs to this home."""
        return docker_leftovers.find(self._engine, str(self._settings.home))

    def remove_leftovers(
        self,
        keep: Collection[tuple[str, int]] = (),
        found: Collection[Leftover] | None = None,
    ) -> list[Leftover]:
        """Remove what belongs to this home but to no attempt that has not ended.

        Args:
            keep: (job name, attempt) of all attempts that have not ended.
            found: What to look at; None = everything. What ``keep`` is to be complete for must
                have been found before that was asked for: jobs are started meanwhile.

        Returns:
            What was removed.
        """
        every = self.find_leftovers() if found is None else found
        removed = docker_leftovers.remove(self._engine, every, keep)
        self._probe.forget_gone()
        self._networks.difference_update(item.name for item in removed)
        return removed

    def close(self) -> None:
        """Stop listening, remove the home's network unless jobs use it, close connections."""
        self._events.close()
        self._outside.reap()
        if self._shares_network:
            self._shares_network = False
            with suppress(EngineUnreachable):  # the next one to close finds it
                self._engine.remove_network(shared_network_name(self._settings))
        self._engine.close()


def _image_of(context: AttemptContext) -> str:
    image = context.spec.algorithm_specification.training_image
    if image is None:
        raise InvalidSpec(
            "backend='docker' needs algorithm_specification.training_image, got none"
        )
    return image


def _is_wanted(directory: Path) -> bool:
    """Return whether nobody has decided over a host directory, which is there."""
    return directory.is_dir() and not claims.is_claimed(directory)


def _sockets(directory: Path | None) -> frozenset[str]:
    """Return the names of the sockets in a directory."""
    if directory is None or not directory.is_dir():
        return frozenset()
    return frozenset(path.name for path in directory.iterdir() if path.is_socket())


def _listening(socket: Path | None) -> Path | None:
    """Return a socket if somebody may listen there, and let containers write to it."""
    if socket is None:
        return None
    try:
        if not stat.S_ISSOCK(socket.stat().st_mode):
            return None
        if os.geteuid() == 0:
            socket.chmod(0o666)
    except OSError:
        return None
    return socket

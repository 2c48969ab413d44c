"""The composition root: the only place that names concrete stores, back ends and clocks."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orchestrator_runtime

from orchestrator import __version__
from orchestrator.backends import gpus
from orchestrator.backends.docker import DockerBackend
from orchestrator.backends.docker_values import DockerSettings
from orchestrator.backends.process import ProcessBackend
from orchestrator.backends.process_plan import ProcessSettings
from orchestrator.blobs.buckets import BucketStore
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.blobs.places import open_blobs
from orchestrator.clock import Clock, SystemClock
from orchestrator.debugger.early_end import EarlyEnds
from orchestrator.debugger.notifier import Notifier
from orchestrator.debugger.post import post_json
from orchestrator.home import METRICS_FILE, prepare_home, relay_directory, socket_path
from orchestrator.scheduler.capacity import Machine
from orchestrator.scheduler.effects import Effects
from orchestrator.scheduler.loop import Driver
from orchestrator.scheduler.recover import release_leftovers
from orchestrator.scheduler.workspace import Workspace
from orchestrator.service.admission import Admission
from orchestrator.service.changes import Changes
from orchestrator.service.driving import WAKE_SOCKET, Driving, WakeSocket, machine_scope
from orchestrator.service.findings import FindingService
from orchestrator.service.inputs import Inputs
from orchestrator.service.jobs import JobService
from orchestrator.service.logs import LogService
from orchestrator.service.metrics import MetricService
from orchestrator.service.placement import Placement, Remembered
from orchestrator.service.runtime import install_runtime
from orchestrator.service.script_mode import ScriptMode
from orchestrator.service.storage import check_not_lost, check_shared, check_unshared
from orchestrator.service.tokens import PageTokens
from orchestrator.service.tuning_analysis import TuningAnalysis
from orchestrator.service.tunings import TuningService
from orchestrator.settings import Settings
from orchestrator.store.failures import newest_backup
from orchestrator.store.sql import open_store
from orchestrator.tuner.analyst import Analyst
from orchestrator.tuner.loop import TuningLoop
from orchestrator.tuner.suggester import Suggester

if TYPE_CHECKING:
    from orchestrator.backends.base import Backend
    from orchestrator.store.base import DriverLease, Store

ACTION_THREADS = 16
OTHER_DRIVER_POLL_SECONDS = 0.05
OWN_POLL_SECONDS = 5.0
SHARED_POLL_SECONDS = 1.0
"""While driving, with a database that drivers of other machines write to as well."""
STORE_FILE = "store.sqlite3"
BACKUP_SECONDS = 3600.0
CHECKED_AT_ONCE_BYTES = 64 << 20  # larger files take too long to read before the first job


class Service:
    """One opened home: its use cases, and the driver if this process gets to drive.

    Args:
        settings: How it runs.
        clock: The time.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.home = prepare_home(settings.home)
        self.clock = clock or SystemClock()
        self.changes = Changes()
        self.workspace = Workspace(self.home)
        self.store = _open_store(settings)
        self.tokens = PageTokens(self.store)
        self.buckets = BucketStore(self.home, self.clock)
        self.blobs = open_blobs(self.home, settings.s3_endpoint, self.buckets)
        self.machine = machine(settings)
        self.metrics = MetricService(self.home / METRICS_FILE, self.store, self.workspace)
        self.driving = Driving(
            home=self.home,
            store=self.store,
            make_driver=self._make_driver,
            clock=self.clock,
            use_file_lock=settings.database_url is None,
            lease_seconds=settings.driver_lease_seconds,
            on_start=self._clean_up,
            on_end=self._retire,
        )
        self.jobs = JobService(
            self.store,
            self.workspace,
            self.admission,
            self.changes,
            self.clock,
            self.driving.wake,
            self._poll_seconds,
            self.metrics.delete,
        )
        self.tunings = TuningService(
            self.store.tunings,
            self.workspace,
            self.admission,
            self.changes,
            self.clock,
            self._wake,
            self._poll_seconds,
        )
        self.analyst = Analyst()
        self.tuning_analysis = TuningAnalysis(self.store.tunings, self.analyst, self.clock)
        self.logs = LogService(self.store, self.workspace, self.changes, self.clock)
        self.findings = FindingService(self.store, self.workspace)
        self.notifier = Notifier(
            self.store,
            self.home,
            self.clock,
            post_json,
            webhook_url=settings.webhook_url,
            is_anothers=self.workspace.is_anothers,
        )
        self.suggester = Suggester(self._on_suggestion)
        self.tuner = TuningLoop(
            store=self.store.tunings,
            jobs=self.jobs,
            metrics=self.metrics,
            logs=self.logs,
            secrets=self.tunings.secrets,
            suggester=self.suggester,
            clock=self.clock,
            changed=self.changes.notify,
            checkpoints_of=lambda name: str(self.workspace.checkpoints(name)),
        )
        self._executor: ThreadPoolExecutor | None = None
        self._wake_socket: WakeSocket | None = None

    @cached_property
    def backends(self) -> dict[str, Backend]:
        """Back ends by name."""
        return {"process": self._process_backend(), "docker": self._docker}

    @cached_property
    def admission(self) -> Admission:
        """The checks before acceptance."""
        return Admission(
            self.home,
            self.backends,
            self.machine,
            strict_resources=self.settings.strict_resources,
        )

    @cached_property
    def placement(self) -> Placement:
        """Where requests made for AWS run."""
        sources = LocalBlobStore(self.home / "blobs")
        return Placement(
            self.home,
            self.settings.aws_backend,
            ScriptMode(self.blobs, sources),
            Remembered(self._docker.has_image, self.clock),
        )

    @cached_property
    def _docker(self) -> DockerBackend:
        return self._docker_backend()

    def _process_backend(self) -> ProcessBackend:
        return ProcessBackend(
            ProcessSettings(
                home=self.home,
                runtime=self.runtime,
                python=self.settings.job_python,
                supervisor_python=sys.executable,
                notify=self._notify_path,
                isolation=self.settings.isolation,
                writable=self.settings.writable_paths,
                hidden=_credentials(),
                log_bytes=self.settings.log_quota_bytes,
            ),
            Inputs(self.blobs).fetch,
        )

    def _docker_backend(self) -> DockerBackend:
        return DockerBackend(
            DockerSettings(
                home=self.home,
                runtime=self.runtime,
                notify=self._notify_path,
                relay=relay_directory(self.home),
                pull=self.settings.docker_pull,
                profile=self.settings.docker_profile,
                log_bytes=self.settings.log_quota_bytes,
            ),
            Inputs(self.blobs).fetch,
            self.driving.wake,
            self.clock,
        )

    @cached_property
    def runtime(self) -> Path:
        """The runtime's directory in this home; running jobs keep theirs across upgrades."""
        return install_runtime(Path(orchestrator_runtime.__file__).parent, self.home)

    @property
    def _notify_path(self) -> Path:
        return socket_path(self.home, WAKE_SOCKET)

    def _poll_seconds(self) -> float:
        if not self.driving.is_driving:
            return OTHER_DRIVER_POLL_SECONDS
        return OWN_POLL_SECONDS if self.settings.database_url is None else SHARED_POLL_SECONDS

    # -- driving ---------------------------------------------------------------------------

    def _make_driver(self, lease: DriverLease) -> Driver:
        self._retire()  # of an earlier try that failed half-way
        self._executor = ThreadPoolExecutor(ACTION_THREADS, thread_name_prefix="action")
        self._wake_socket = WakeSocket(self._notify_path, asked=self._wake, seen=self.driving.wake)
        self.notifier.start()
        self.tuner.start(lease)
        return Driver(
            store=self.store,
            effects=Effects(
                self.backends,
                self.workspace,
                self.blobs,
                self.metrics,
                EarlyEnds(self.metrics, self.clock),
                self.jobs.secrets.let_go,
            ),
            machine=self.machine,
            lease=lease,
            clock=self.clock,
            executor=self._executor,
            wake=self.driving.wake,
            changed=self._changed,
            ended=self.tuner.ended,
            gpus_of=lambda job: self.admission.gpus_per_host(job.spec),
            backends=self.backends,
            housekeep=self._keep_house,
            lease_seconds=self.settings.driver_lease_seconds,
        )

    def _wake(self) -> None:
        """Say, here or to the process that drives, that there is something to do."""
        self.driving.wake()
        self.tuner.wake()

    def _on_suggestion(self) -> None:
        self.tuner.answered()

    def _changed(self) -> None:
        self.changes.notify()
        self.notifier.wake()

    def _clean_up(self) -> None:
        file = self.home / STORE_FILE
        if file.exists() and file.stat().st_size <= CHECKED_AT_ONCE_BYTES:
            self.store.check()
        active = self.store.active_jobs(machine_scope(), self.backends, queued_limit=0)
        present = {(job.name, job.attempt) for job in active if job.hosts}
        release_leftovers(self.store, self.workspace, self.backends, present)
        self._sweep_secrets()

    def _sweep_secrets(self) -> None:
        self.jobs.secrets.sweep()
        self.tunings.secrets.sweep()

    def _retire(self) -> None:
        """Let go of what only a driver needs, once its last actions are done."""
        self.tuner.close()
        self.notifier.close()
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None
        if self._wake_socket is not None:
            self._wake_socket.close()
            self._wake_socket = None

    def _keep_house(self) -> None:
        """Remove secrets that nobody needs; copy the store (SQLite only) once an hour."""
        self._sweep_secrets()
        newest = newest_backup(self.home / STORE_FILE) or self.runtime  # else since installation
        if self.clock.now().timestamp() - newest.stat().st_mtime >= BACKUP_SECONDS:
            self.store.backup()

    # -- the whole -------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Return what this service is and can do here."""
        return {
            "version": __version__,
            "home": str(self.home),
            "pid": os.getpid(),
            "driving": self.driving.is_driving,
            "python": self.settings.job_python,
            "settings": self.settings.shown(),
            "machine": {
                "cpus": self.machine.cpus,
                "memory_gib": round(self.machine.memory_gib, 1),
                "gpus": list(self.machine.gpus),
            },
            "backends": {
                name: vars(backend.capabilities()) for name, backend in self.backends.items()
            },
        }

    def close(self) -> None:
        """Stop driving and release everything; running jobs go on."""
        self.driving.close()
        self.suggester.close()
        self.analyst.close()
        for backend in self.__dict__.get("backends", {}).values():
            backend.close()
        self.metrics.close()
        self.buckets.close()
        self.store.close()


def open_service(settings: Settings | None = None, clock: Clock | None = None) -> Service:
    """Open the home that the settings name."""
    return Service(settings or Settings(), clock)


def machine(settings: Settings) -> Machine:
    """Return what this machine gives out: as set, else all of it."""
    return Machine(
        cpus=settings.cpu_slots or float(os.cpu_count() or 1),
        memory_gib=settings.memory_gib or _total_memory_gib(),
        gpus=gpus.present_gpus(),
    )


def _total_memory_gib() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    except (ValueError, OSError):
        return 0.0


def _credentials() -> tuple[Path, ...]:
    """Return where programs keep keys in a user's home; jobs see these empty."""
    names = (
        *(".ssh", ".aws", ".azure", ".oci", ".config/gcloud", ".gnupg", ".kube", ".docker"),
        *(".config/gh", ".config/git/credentials", ".git-credentials", ".netrc", ".pypirc"),
        *(".npmrc", ".kaggle", ".huggingface", ".cache/huggingface/token"),
        *(".cache/huggingface/stored_tokens", ".password-store", ".local/share/keyrings"),
        *(".bash_history", ".zsh_history", ".python_history", ".psql_history"),
        ".orchestrator",  # the default home, where another one is used
    )
    return tuple(Path.home() / name for name in names)


def _open_store(settings: Settings) -> Store:
    if settings.database_url is None:
        check_unshared(settings.home)
        check_not_lost(settings.home)
        return open_store(settings.home / STORE_FILE)
    store = open_store(settings.database_url)
    try:
        check_shared(store, settings.home)
    except BaseException:
        store.close()
        raise
    return store

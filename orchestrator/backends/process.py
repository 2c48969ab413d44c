"""The process back end: hosts are sandboxed process trees of this machine.

service -> supervisor (own session, outside the sandbox) -> sandbox -> program. The claim file of
the host directory is the fence (created exclusively) and the sign of life (locked while the
supervisor lives), so nothing here depends on memory or on process ids alone.
"""

from __future__ import annotations

import os
import signal
import subprocess  # argv lists only
import sys
import threading
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator_runtime import contract

from orchestrator.backends import claims, gpus, inputs, sandbox, staging
from orchestrator.backends.base import (
    AttemptContext,
    Backend,
    Capabilities,
    Handle,
    HostStatus,
    Observation,
    attempt_directory,
)
from orchestrator.backends.process_plan import (
    EMPTY_FILE,
    HOSTS_FILE,
    SECRETS_FILE,
    Planner,
    ProcessSettings,
)
from orchestrator.backends.spawn import has_ended, spawn_detached
from orchestrator.backends.starter import Starter
from orchestrator.errors import BackendError, CapacityUnavailable, ImageError, InvalidSpec
from orchestrator.failpoints import failpoint
from orchestrator.packaging.requirements import is_installed, mark_used, probe_interpreter
from orchestrator.packaging.script import check_python

if TYPE_CHECKING:
    from orchestrator.spec.job import TrainingJobSpec

SUPERVISOR_ERRORS = "supervisor.err"


class ProcessBackend(Backend):
    """Runs hosts as process trees under a supervisor each."""

    name = "process"

    def __init__(self, settings: ProcessSettings, fetch: inputs.InputFetcher) -> None:
        self._settings = settings
        self._fetch = fetch
        self._spawned: dict[Path, int] = {}
        self._ending: list[int] = []
        self._lock = threading.Lock()
        self._starter: Starter | None = None
        if sys.platform == "linux":  # on macOS a fork has to run another program
            argv = settings.runtime_argv("start-supervisors", str(settings.home))
            self._starter = Starter(argv, _environment())

    # -- what can be done ------------------------------------------------------------------

    @cached_property
    def isolation(self) -> str:
        """The fence that is used here: the best one that works, or the one that is set."""
        wanted = self._settings.isolation
        if wanted != "auto":
            return wanted
        if sys.platform != "linux":
            return "none"
        if sandbox.bubblewrap_works():
            return "bubblewrap"
        return "namespaces" if self._namespaces_work() else "none"

    def _namespaces_work(self) -> bool:
        argv = self._settings.runtime_argv("try-namespaces")
        try:
            done = subprocess.run(argv, capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    def capabilities(self) -> Capabilities:
        """Return what can be done here; the first call tries the sandbox (about 10 ms)."""
        fenced = self.isolation != "none"
        missing: tuple[str, ...] = ()
        if not fenced:
            missing = (
                (
                    "no sandbox: scripts that hard-code /opt/ml do not find it (SM_* variables "
                    "still work), and jobs see and may change all of your files; on Linux install "
                    "bubblewrap (apt-get install bubblewrap)"
                ),
            )
        return Capabilities(
            isolation=self.isolation,
            serves_opt_ml=fenced,
            network_isolation=fenced,
            limits_memory=True,
            missing=missing,
        )

    def check(self, spec: TrainingJobSpec) -> tuple[str, ...]:
        """Check interpreter, image, isolation and GPUs; see the interface."""
        if spec.source_code is None and spec.algorithm_specification.training_image is not None:
            raise ImageError(
                "the process back end runs source_code or container_entrypoint, got image "
                f"{spec.algorithm_specification.training_image!r}; use backend='docker'"
            )
        self._check_python(self._planner.python(spec), spec)
        if spec.enable_network_isolation and self.isolation == "none":
            raise InvalidSpec(
                "enable_network_isolation needs a sandbox, and none works on this machine; "
                "install bubblewrap or use backend='docker'"
            )
        if spec.enable_network_isolation and len(spec.hosts) > 1:
            raise InvalidSpec(
                "enable_network_isolation with several hosts is not possible on the process back "
                f"end, got {len(spec.hosts)} hosts; use backend='docker'"
            )
        self._check_kept(spec)
        present = gpus.present_gpus() if spec.resources.gpus else ()
        if (spec.resources.gpus or 0) > len(present):
            raise CapacityUnavailable(
                f"resources.gpus must be at most the {len(present)} GPUs of this machine, "
                f"got {spec.resources.gpus}"
            )
        return self._lost_without_sandbox(spec)

    def _lost_without_sandbox(self, spec: TrainingJobSpec) -> tuple[str, ...]:
        """Return what a job must do without on this machine."""
        lost = self.capabilities().missing
        if lost and len(spec.hosts) > 1:
            names = ", ".join(name for name, _, _ in spec.hosts)
            shared = f"no sandbox: the names {names} do not resolve, and all hosts share the ports"
            return (*lost, f"{shared} of this machine")
        return lost

    @staticmethod
    def _check_kept(spec: TrainingJobSpec) -> None:
        """Check that the places of kept directories can exist in a sandbox."""
        configs = (spec.checkpoint_config, spec.tensor_board_output_config, spec.debugger)
        for path in (config.local_path for config in configs if config is not None):
            if ".." in path.split("/") or not path.startswith(("/opt/ml/", "/tmp/")):  # noqa: S108
                raise InvalidSpec(
                    "local_path of checkpoints, event files and tensors must lie below /opt/ml or /tmp on "
                    f"the process back end, got {path!r}; use /opt/ml/checkpoints"
                )

    @staticmethod
    def _check_python(python: str, spec: TrainingJobSpec) -> None:
        if not os.access(python, os.X_OK) or Path(python).is_dir():
            raise InvalidSpec(
                f"python must name an executable interpreter on this machine, got {python!r}; "
                "give an absolute path such as /usr/bin/python3"
            )
        wanted = spec.source_code.requires_python if spec.source_code else None
        if wanted:
            check_python(wanted, probe_interpreter(python).version)

    # -- plan ------------------------------------------------------------------------------

    @cached_property
    def _planner(self) -> Planner:
        return Planner(self._settings, self.isolation)

    def plan(self, context: AttemptContext) -> dict[str, dict[str, Any]]:
        """Return each host's plan file and the supervisor's argv."""
        return {member.host: self._plan_host(context, member.host) for member in context.hosts}

    def _plan_host(self, context: AttemptContext, host: str) -> dict[str, Any]:
        installed = self._planner.installed(context, host)
        kept = installed is not None and installed.is_kept
        return {
            "argv": self._planner.supervisor_argv(context.host_directory(host)),
            "plan": self._planner.host_plan(context, host, installed),
            "environment": installed.directory if installed is not None and kept else None,
        }

    # -- effects ---------------------------------------------------------------------------

    def stage(self, context: AttemptContext) -> None:
        """Write every host's tree, config files and hosts file."""
        failpoint("stage.before_inputs")
        addresses = sandbox.loopback_addresses(
            context.number, tuple(member.host for member in context.hosts)
        )
        for member in context.hosts:
            if claims.is_claimed(context.host_directory(member.host)):
                continue  # its program may be running: nothing may change under it
            directory = staging.prepare_host(
                context,
                member.host,
                network_interface="lo",
                fetch=self._fetch,
                can_mount=self.isolation != "none",
            )
            (directory / HOSTS_FILE).write_text(sandbox.hosts_file(addresses), encoding="utf-8")
            (directory / EMPTY_FILE).touch()
            if context.secrets:
                staging.write_json(directory / SECRETS_FILE, context.secrets, mode=0o600)
        failpoint("stage.after_inputs")

    def start(self, context: AttemptContext, host: str) -> Handle:
        """Spawn the host's supervisor; one that claimed the directory already stays the only one."""
        directory = context.host_directory(host)
        failpoint("start.before_plan")
        if claims.is_claimed(directory):
            return {"directory": str(directory)}
        plan = self._plan_host(context, host)
        if plan["environment"] is not None:
            self._make_environment(Path(plan["environment"]))
        staging.write_json(directory / contract.PLAN_FILE, plan["plan"])
        failpoint("start.after_plan")
        if not claims.is_claimed(directory):
            self._start_supervisor(context, directory, plan["argv"])
        failpoint("start.after_spawn")
        return {"directory": str(directory)}

    @staticmethod
    def _make_environment(directory: Path) -> None:
        """Make the place for the requirements, or note that they are used once more."""
        directory.mkdir(parents=True, exist_ok=True)
        if is_installed(directory):
            mark_used(directory)

    def _start_supervisor(self, context: AttemptContext, directory: Path, argv: list[str]) -> None:
        """Have one forked, else spawn one: what that one cannot do, it says."""
        errors, title = directory / SUPERVISOR_ERRORS, context.spec.training_job_name
        if self._starter is not None and self._starter.start(directory, errors, title):
            return
        with self._lock:
            running = self._spawned.get(directory)
            if running is None or has_ended(running):
                self._spawned[directory] = spawn_detached(argv, errors, _environment())

    def observe(self, context: AttemptContext, host: str, handle: Handle | None) -> Observation:
        """Read the host directory; see ``claims.observe``."""
        del handle
        directory = context.host_directory(host)
        seen = claims.observe(directory, host)
        pid = self._spawned.get(directory)
        if pid is not None and seen.status is HostStatus.ABSENT:
            return self._unclaimed(seen, directory, has_ended(pid))
        if seen.status in {HostStatus.EXITED, HostStatus.LOST}:
            self._reap(directory)
        if seen.status is HostStatus.LOST and claims.kill_strays(directory):
            return replace(seen, status=HostStatus.RUNNING)  # until nothing of it is left
        return seen

    def _reap(self, directory: Path) -> None:
        """Let no ended supervisor stay as a zombie; one may need a moment after its exit record."""
        with self._lock:
            pid = self._spawned.pop(directory, None)
            if pid is not None:
                self._ending.append(pid)
            self._ending = [pid for pid in self._ending if not has_ended(pid)]

    def _unclaimed(self, seen: Observation, directory: Path, dead: bool) -> Observation:
        if not dead:
            return replace(seen, status=HostStatus.RUNNING)
        errors = (directory / SUPERVISOR_ERRORS).read_text("utf-8", "replace")[-2000:]
        raise BackendError(f"the supervisor of {seen.host} did not start: {errors.strip()}")

    def stop(
        self,
        context: AttemptContext,
        host: str,
        handle: Handle | None,
        request: contract.StopRequest,
    ) -> None:
        """Leave the request in the host directory and wake the supervisor."""
        del handle
        directory = context.host_directory(host)
        directory.mkdir(parents=True, exist_ok=True)
        failpoint("stop.before_signal")
        staging.write_json(directory / contract.STOP_FILE, request)
        if claims.claim_stopped(directory, context, host, request):
            return
        pid = claims.living_supervisor(directory)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        failpoint("stop.after_signal")

    def release(self, context: AttemptContext) -> None:
        """Remove inputs, code and scratch space of all hosts; logs and artifacts stay."""
        failpoint("cleanup.before_remove")
        attempt = attempt_directory(context.job_directory, context.attempt)
        for host_directory in attempt.iterdir() if attempt.is_dir() else ():
            staging.discard_work(host_directory)
            (host_directory / SECRETS_FILE).unlink(missing_ok=True)  # no supervisor took them
        inputs.discard_inputs(context)
        failpoint("cleanup.after_remove")

    def close(self) -> None:
        """Let go of the supervisors: they go on without this process."""
        self._spawned.clear()
        if self._starter is not None:
            self._starter.close()


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath)}

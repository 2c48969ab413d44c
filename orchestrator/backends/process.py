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
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator_runtime import contract, launch

from orchestrator.backends import claims, gpus, sandbox, staging
from orchestrator.backends.base import (
    AttemptContext,
    Backend,
    Capabilities,
    Handle,
    HostStatus,
    Observation,
    attempt_directory,
)
from orchestrator.backends.environment import inherited_environment
from orchestrator.backends.requirements import wanted
from orchestrator.errors import BackendError, CapacityUnavailable, ImageError, InvalidSpec
from orchestrator.failpoints import failpoint
from orchestrator.packaging.requirements import (
    InstallPlan,
    environment_key,
    install_plan,
    is_installed,
    mark_used,
    probe_interpreter,
)

if TYPE_CHECKING:
    from orchestrator.spec.job import TrainingJobSpec

ENVIRONMENTS = "envs"
SUPERVISOR_ERRORS = "supervisor.err"
RECORDS_TARGET = "/run/orchestrator/records"


@dataclass(frozen=True)
class ProcessSettings:
    """What the process back end needs to know of its surroundings.

    Attributes:
        home: The home directory; hidden from jobs.
        runtime: Directory with ``__main__.py`` and ``orchestrator_runtime/``.
        python: Interpreter for jobs that name none.
        supervisor_python: Interpreter that runs supervisors.
        notify: Datagram socket that supervisors poke; None = the driver polls.
        isolation: ``auto``, ``bubblewrap``, ``namespaces`` or ``none``.
        writable: Further paths of this machine that jobs may change.
        hidden: Further directories that jobs see empty.
        log_bytes: Log quota of one host.
    """

    home: Path
    runtime: Path
    python: str = sys.executable
    supervisor_python: str = sys.executable
    notify: Path | None = None
    isolation: str = "auto"
    writable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    log_bytes: int = 2 << 30


class ProcessBackend(Backend):
    """Runs hosts as process trees under a supervisor each."""

    name = "process"

    def __init__(self, settings: ProcessSettings, fetch: staging.InputFetcher) -> None:
        self._settings = settings
        self._fetch = fetch
        self._spawned: dict[Path, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

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
        argv = [self._settings.supervisor_python, "-I", "-S", str(self._settings.runtime)]
        try:
            done = subprocess.run(
                [*argv, "try-namespaces"], capture_output=True, timeout=10, check=False
            )
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
        self._check_python(spec.python or self._settings.python)
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
        present = gpus.present_gpus()
        if (spec.resources.gpus or 0) > len(present):
            raise CapacityUnavailable(
                f"resources.gpus must be at most the {len(present)} GPUs of this machine, "
                f"got {spec.resources.gpus}"
            )
        return ()

    @staticmethod
    def _check_python(python: str) -> None:
        if not os.access(python, os.X_OK) or Path(python).is_dir():
            raise InvalidSpec(
                f"python must name an executable interpreter on this machine, got {python!r}; "
                "give an absolute path such as /usr/bin/python3"
            )

    # -- plan ------------------------------------------------------------------------------

    def plan(self, context: AttemptContext) -> dict[str, dict[str, Any]]:
        """Return each host's plan file and the supervisor's argv."""
        return {
            member.host: {
                "argv": self._supervisor_argv(context.host_directory(member.host)),
                "plan": self._host_plan(context, member.host),
            }
            for member in context.hosts
        }

    def _supervisor_argv(self, host_directory: Path) -> list[str]:
        python = self._settings.supervisor_python
        runtime = str(self._settings.runtime)
        return [python, "-I", "-S", runtime, "supervise", str(host_directory)]

    def _host_plan(self, context: AttemptContext, host: str) -> contract.HostPlan:
        spec = context.spec
        fenced = self.isolation != "none"
        host_directory = context.host_directory(host)
        ml = host_directory / contract.ML_DIRECTORY
        base = contract.ML if fenced else str(ml)
        python = spec.python or self._settings.python
        cwd = f"{base}/{contract.CODE}"
        environment = self._environment(context, host, python)
        installed = self._installed(context, base, python)
        if installed is not None:
            environment |= installed.program_environment(environment["PATH"])
            python = installed.python
        return {
            "format": contract.FORMAT,
            "job_name": spec.training_job_name,
            "attempt": context.attempt,
            "host": host,
            "ml": str(ml),
            "base": base,
            "argv": self._argv(spec, python, cwd),
            "cwd": cwd,
            "environment": environment,
            "secrets": str(host_directory / "secrets.json") if context.secrets else None,
            "install": installed.step() if _must_install(installed) else None,
            "sandbox": self._sandbox(context, host, cwd, installed),
            "limits": {
                "max_runtime_seconds": spec.stopping_condition.max_runtime_in_seconds,
                "grace_seconds": spec.stop_grace_seconds,
                "log_bytes": self._settings.log_bytes,
                "memory_bytes": (
                    int(spec.resources.memory_gib * (1 << 30))
                    if spec.resources.memory_gib
                    else None
                ),
                "cpus": spec.resources.cpus if spec.resources.limit_cpus else None,
            },
            "compression": spec.output_data_config.compression_type,
            "notify": str(self._settings.notify) if self._settings.notify else None,
        }

    def _installed(self, context: AttemptContext, base: str, python: str) -> InstallPlan | None:
        """Return how the job gets its requirements; nothing is installed here."""
        want = wanted(context)
        if want is None:
            return None
        key = environment_key(want.text, probe_interpreter(python).identity, source=want.source)
        fenced = self.isolation != "none"
        return install_plan(
            key=key,
            directory=str(self._settings.home / ENVIRONMENTS / key),
            requirements_path=f"{base}/{want.path}",
            python=python,
            runtime=contract.RUNTIME if fenced else str(self._settings.runtime),
        )

    @staticmethod
    def _argv(spec: TrainingJobSpec, python: str, cwd: str) -> list[str]:
        algorithm = spec.algorithm_specification
        if algorithm.container_entrypoint or spec.source_code is None:
            return [
                *(algorithm.container_entrypoint or ()),
                *(algorithm.container_arguments or ()),
            ]
        return launch.program_argv(
            spec.source_code.entry_script,
            spec.hyper_parameters,
            directory=cwd,
            interpreter=python,
            extra=spec.source_code.arguments,
        )

    def _environment(self, context: AttemptContext, host: str, python: str) -> dict[str, str]:
        fenced = self.isolation != "none"
        host_directory = context.host_directory(host)
        environment = inherited_environment(os.environ, python, scratch="/tmp" if fenced else None)  # noqa: S108
        member = next(h for h in context.hosts if h.host == host)
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, member.gpus))
        environment |= context.spec.environment
        environment |= {
            "TRAINING_JOB_NAME": context.spec.training_job_name,
            "TRAINING_JOB_ARN": context.arn,
            contract.ATTEMPT_VARIABLE: str(context.attempt),
            contract.RECORDS_VARIABLE: (
                RECORDS_TARGET if fenced else str(host_directory / contract.RECORDS_FIFO)
            ),
            "PYTHONPATH": os.pathsep.join(
                filter(
                    None,
                    (
                        environment.get("PYTHONPATH"),
                        contract.RUNTIME if fenced else str(self._settings.runtime),
                    ),
                )
            ),
        }
        return environment

    def _sandbox(
        self, context: AttemptContext, host: str, cwd: str, installed: InstallPlan | None
    ) -> contract.SandboxPlan:
        if self.isolation == "none":
            return {"kind": "none", "prefix": [], "namespaces": None}
        fence = self._fence(context, host, cwd, installed)
        if self.isolation == "namespaces":
            return {"kind": "namespaces", "prefix": [], "namespaces": sandbox.namespaces(fence)}
        return {
            "kind": "bubblewrap",
            "prefix": sandbox.bubblewrap_prefix(fence),
            "namespaces": None,
        }

    def _fence(
        self, context: AttemptContext, host: str, cwd: str, installed: InstallPlan | None
    ) -> sandbox.Fence:
        directory = context.host_directory(host)
        checkpoints = staging.checkpoint_directory(context)
        config = context.spec.checkpoint_config
        writable = [
            (str(directory / contract.SCRATCH_DIRECTORY), "/tmp"),  # noqa: S108
            (str(directory / contract.ML_DIRECTORY), contract.ML),
            (str(checkpoints), config.local_path if config else f"{contract.ML}/checkpoints"),
            (str(directory / contract.RECORDS_FIFO), RECORDS_TARGET),
            *((str(path), str(path)) for path in self._settings.writable),
        ]
        read_only = [
            (str(self._settings.runtime), contract.RUNTIME),
            (str(directory / "hosts"), "/etc/hosts"),
            *(
                (str(mount.source), f"{contract.ML}/{mount.target}")
                for mount in staging.channel_mounts(context, host)
            ),
        ]
        if installed is not None:
            # A finished environment is shared with other jobs, so no job may change it.
            binds = writable if _must_install(installed) else read_only
            binds.append((installed.directory, installed.directory))
        member = next(h for h in context.hosts if h.host == host)
        return sandbox.Fence(
            hostname=host,
            writable=tuple(writable),
            read_only=tuple(read_only),
            hidden=(str(self._settings.home), *map(str, self._settings.hidden)),
            devices=gpus.device_nodes(member.gpus),
            network=not context.spec.enable_network_isolation,
            cwd=cwd,
            opt_entries=sandbox.opt_entries(),
        )

    # -- effects ---------------------------------------------------------------------------

    def stage(self, context: AttemptContext) -> None:
        """Write every host's tree, config files and hosts file."""
        failpoint("stage.before_inputs")
        addresses = sandbox.loopback_addresses(
            context.number, tuple(member.host for member in context.hosts)
        )
        for member in context.hosts:
            directory = staging.prepare_host(
                context,
                member.host,
                network_interface="lo",
                fetch=self._fetch,
                link_channels=self.isolation == "none",
            )
            (directory / "hosts").write_text(sandbox.hosts_file(addresses), encoding="utf-8")
            if context.secrets:
                staging.write_json(directory / "secrets.json", context.secrets, mode=0o600)
        failpoint("stage.after_inputs")

    def start(self, context: AttemptContext, host: str) -> Handle:
        """Spawn the host's supervisor; one that claimed the directory already stays the only one."""
        directory = context.host_directory(host)
        failpoint("start.before_plan")
        plan = self.plan(context)[host]
        self._make_environment(context)
        staging.write_json(directory / contract.PLAN_FILE, plan["plan"])
        failpoint("start.after_plan")
        if not claims.is_claimed(directory):
            self._spawn(plan["argv"], directory)
        failpoint("start.after_spawn")
        return {"directory": str(directory)}

    def _make_environment(self, context: AttemptContext) -> None:
        """Make the place for the requirements, or note that they are used once more."""
        python = context.spec.python or self._settings.python
        installed = self._installed(context, contract.ML, python)
        if installed is None:
            return
        directory = Path(installed.directory)
        directory.mkdir(parents=True, exist_ok=True)
        if is_installed(directory):
            mark_used(directory)

    def _spawn(self, argv: list[str], directory: Path) -> None:
        with self._lock, (directory / SUPERVISOR_ERRORS).open("ab") as errors:
            running = self._spawned.get(directory)
            if running is not None and running.poll() is None:
                return
            self._spawned[directory] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                cwd="/",
            )

    def observe(self, context: AttemptContext, host: str, handle: Handle | None) -> Observation:
        """Read the host directory; see ``claims.observe``."""
        del handle
        directory = context.host_directory(host)
        seen = claims.observe(directory, host)
        process = self._spawned.get(directory)
        dead = process is not None and process.poll() is not None
        if seen.status is HostStatus.ABSENT and process is not None:
            return self._unclaimed(seen, directory, dead)
        if seen.status in {HostStatus.EXITED, HostStatus.LOST}:
            self._spawned.pop(directory, None)
        if seen.status is HostStatus.LOST:
            claims.kill_strays(directory)
        return seen

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
        failpoint("cleanup.after_remove")

    def close(self) -> None:
        """Let go of the supervisors: they go on without this process."""
        self._spawned.clear()


def _must_install(installed: InstallPlan | None) -> bool:
    return installed is not None and not is_installed(Path(installed.directory))

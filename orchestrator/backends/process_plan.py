"""What the process back end asks of a supervisor: the plan of each host, as a pure value.

Only the interpreter is looked at (and only for jobs with requirements): what is installed in it
decides which environment fits.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator_runtime import contract, launch

from orchestrator.backends import debug, gpus, inputs, sandbox, staging
from orchestrator.backends.environment import inherited_environment
from orchestrator.backends.launchers import launched, launcher_environment
from orchestrator.backends.requirements import OWN_DIRECTORY, may_install, wanted
from orchestrator.packaging.requirements import (
    InstallPlan,
    environment_key,
    install_plan,
    is_installed,
    own_plan,
    probe_interpreter,
)
from orchestrator.spec.redact import masked_values

if TYPE_CHECKING:
    from orchestrator.backends.base import AttemptContext
    from orchestrator.spec.job import TrainingJobSpec

ENVIRONMENTS = "envs"
HOSTS_FILE = "hosts"
EMPTY_FILE = "empty"
SECRETS_FILE = "secrets.json"
SCRATCH_TARGET = "/tmp"  # noqa: S108  # inside the sandbox, where it is the job's own


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
        hidden: Further directories and files that jobs see empty, where they exist.
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

    def runtime_argv(self, *words: str) -> list[str]:
        """Return a command of the runtime, for the interpreter of supervisors."""
        return [self.supervisor_python, "-I", "-S", str(self.runtime / "__main__.py"), *words]


@dataclass(frozen=True)
class Planner:
    """Plans hosts.

    Attributes:
        isolation: ``bubblewrap``, ``namespaces`` or ``none``.
    """

    settings: ProcessSettings
    isolation: str

    @property
    def _fenced(self) -> bool:
        return self.isolation != "none"

    @property
    def _runtime(self) -> str:
        return contract.RUNTIME if self._fenced else str(self.settings.runtime)

    @property
    def _hidden(self) -> tuple[str, ...]:
        found = (path for path in self.settings.hidden if path.is_dir())
        return tuple(dict.fromkeys(_place(path) for path in (self.settings.home, *found)))

    def _base(self, context: AttemptContext, host: str) -> str:
        if self._fenced:
            return contract.ML
        return str(context.host_directory(host) / contract.ML_DIRECTORY)

    def _scratch(self, context: AttemptContext, host: str) -> str:
        if self._fenced:
            return SCRATCH_TARGET
        return str(context.host_directory(host) / contract.SCRATCH_DIRECTORY)

    def python(self, spec: TrainingJobSpec) -> str:
        """Return the interpreter a job names, or the default one."""
        return spec.python or self.settings.python

    def supervisor_argv(self, host_directory: Path) -> list[str]:
        """Return the command of a supervisor."""
        return self.settings.runtime_argv("supervise", str(host_directory))

    def installed(self, context: AttemptContext, host: str) -> InstallPlan | None:
        """Return how a job gets its requirements; None when it has none."""
        want = wanted(context)
        python = self.python(context.spec)
        if want is None:
            if not may_install(context.spec):
                return None
            own = f"{self._scratch(context, host)}/{OWN_DIRECTORY}"
            return own_plan(directory=own, python=python, runtime=self._runtime)
        key = environment_key(want.text, probe_interpreter(python).identity, source=want.source)
        return install_plan(
            key=key,
            directory=str(self.settings.home / ENVIRONMENTS / key),
            requirements_path=f"{self._base(context, host)}/{want.path}",
            python=python,
            runtime=self._runtime,
        )

    def host_plan(
        self, context: AttemptContext, host: str, installed: InstallPlan | None
    ) -> contract.HostPlan:
        """Return the plan file of one host."""
        spec = context.spec
        directory = context.host_directory(host)
        base = self._base(context, host)
        cwd = f"{base}/{contract.CODE}"
        environment = self._environment(context, host)
        if installed is not None:
            environment |= installed.program_environment(environment["PATH"])
        python = installed.python if installed is not None else self.python(spec)
        must_install = installed is not None and (
            not installed.is_kept or not is_installed(Path(installed.directory))
        )
        return {
            "format": contract.FORMAT,
            "job_name": spec.training_job_name,
            "attempt": context.attempt,
            "host": host,
            "ml": str(directory / contract.ML_DIRECTORY),
            "base": base,
            "argv": launched(context, host, program_argv(spec, python, cwd)),
            "cwd": cwd,
            "environment": environment,
            "secrets": str(directory / SECRETS_FILE) if context.secrets else None,
            "masked": list(masked_values(spec)),
            "install": installed.step() if installed is not None and must_install else None,
            "sandbox": self._sandbox(context, host, cwd, installed),
            "limits": limits(spec, self.settings.log_bytes),
            "compression": spec.output_data_config.compression_type,
            "notify": str(self.settings.notify) if self.settings.notify else None,
            "pipes": inputs.pipe_plans(
                context, host, str(inputs.inputs_directory(context, host) / inputs.PIPES)
            ),
            "volume": self._volume(context, host),
            "debug": debug.plan_path(spec, base),
        }

    def _volume(self, context: AttemptContext, host: str) -> contract.VolumePlan | None:
        files = inputs.files_directory(context, host) if self._fenced else None
        return staging.volume_plan(context, host, str(files) if files else None)

    def _environment(self, context: AttemptContext, host: str) -> dict[str, str]:
        member = next(h for h in context.hosts if h.host == host)
        environment = inherited_environment(
            os.environ,
            self.python(context.spec),
            scratch=SCRATCH_TARGET if self._fenced else None,
        )
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, member.gpus))
        if context.spec.source_code is not None:
            environment["SAGEMAKER_PROGRAM"] = context.spec.source_code.entry_script
        environment |= launcher_environment(context, host)
        environment |= context.spec.environment
        fifo = context.host_directory(host) / contract.RECORDS_FIFO
        path = [environment["PYTHONPATH"]] if "PYTHONPATH" in environment else []
        return environment | {
            "TRAINING_JOB_NAME": context.spec.training_job_name,
            "TRAINING_JOB_ARN": context.arn,
            contract.ATTEMPT_VARIABLE: str(context.attempt),
            contract.RECORDS_VARIABLE: contract.RECORDS if self._fenced else str(fifo),
            "PYTHONPATH": os.pathsep.join([*path, self._runtime]),
        }

    def _sandbox(
        self, context: AttemptContext, host: str, cwd: str, installed: InstallPlan | None
    ) -> contract.SandboxPlan:
        if not self._fenced:
            return {"kind": "none", "prefix": [], "namespaces": None}
        fence = self._fence(context, host, cwd, installed)
        if self.isolation == "namespaces":
            return {"kind": "namespaces", "prefix": [], "namespaces": sandbox.namespaces(fence)}
        prefix = sandbox.bubblewrap_prefix(fence, sandbox.bubblewrap_program())
        return {"kind": "bubblewrap", "prefix": prefix, "namespaces": None}

    def _fence(
        self, context: AttemptContext, host: str, cwd: str, installed: InstallPlan | None
    ) -> sandbox.Fence:
        directory = context.host_directory(host)
        writable = [
            (str(directory / contract.SCRATCH_DIRECTORY), SCRATCH_TARGET),
            (str(directory / contract.ML_DIRECTORY), contract.ML),
            *((str(k.directory), k.target) for k in staging.kept_directories(context)),
            (str(directory / contract.RECORDS_FIFO), contract.RECORDS),
            *((str(path), _place(path)) for path in self.settings.writable),
        ]
        read_only = [
            (str(self.settings.runtime), contract.RUNTIME),
            (str(directory / HOSTS_FILE), "/etc/hosts"),
            *(
                (str(directory / EMPTY_FILE), _place(path))
                for path in self.settings.hidden
                if path.is_file()
            ),
            *(
                (str(mount.source), f"{contract.ML}/{mount.target}")
                for mount in inputs.channel_mounts(context, host)
            ),
        ]
        covered = (SCRATCH_TARGET, "/run", *self._hidden)
        read_only += [(p, p) for p in interpreter_paths(self.python(context.spec), covered)]
        if installed is not None and installed.is_kept:
            # A finished environment is shared with other jobs, so no job may change it.
            done = is_installed(Path(installed.directory))
            binds = read_only if done else writable
            binds.append((installed.directory, installed.directory))
        member = next(h for h in context.hosts if h.host == host)
        return sandbox.Fence(
            hostname=host,
            writable=tuple(writable),
            read_only=tuple(read_only),
            hidden=self._hidden,
            devices=gpus.device_nodes(member.gpus),
            network=not context.spec.enable_network_isolation,
            cwd=cwd,
            opt_entries=sandbox.opt_entries(),
        )


def _place(path: Path) -> str:
    """Return where a path leads: what is mounted on a link would not be found by bubblewrap."""
    return str(path.resolve())


def interpreter_paths(python: str, covered: tuple[str, ...]) -> list[str]:
    """Return the directories of an interpreter that a sandbox would cover and must show again.

    Args:
        python: Path of the interpreter; often that of a virtual environment.
        covered: Directories that are not the machine's own inside the sandbox.
    """
    prefixes = {Path(python).parent.parent, Path(python).resolve().parent.parent}
    return sorted(
        str(prefix)
        for prefix in prefixes
        if any(prefix.is_relative_to(directory) for directory in covered)
    )


def program_argv(spec: TrainingJobSpec, python: str, cwd: str) -> list[str]:
    """Return the program's command: the entry point, or the entry script of the source."""
    algorithm = spec.algorithm_specification
    if algorithm.container_entrypoint or spec.source_code is None:
        return [*(algorithm.container_entrypoint or ()), *(algorithm.container_arguments or ())]
    return launch.program_argv(
        spec.source_code.entry_script,
        spec.hyper_parameters,
        directory=cwd,
        interpreter=python,
        extra=spec.source_code.arguments,
    )


def limits(spec: TrainingJobSpec, log_bytes: int) -> contract.Limits:
    """Return what the supervisor enforces."""
    memory = spec.resources.memory_gib
    return {
        "max_runtime_seconds": spec.stopping_condition.max_runtime_in_seconds,
        "grace_seconds": spec.stop_grace_seconds,
        "log_bytes": log_bytes,
        "memory_bytes": int(memory * (1 << 30)) if memory else None,
        "cpus": spec.resources.cpus if spec.resources.limit_cpus else None,
    }

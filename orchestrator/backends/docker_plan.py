"""The literal requests to the engine for one attempt, as pure values.

The supervisor is the container's first process below the engine's ``init``; the host directory
is shown to it at ``HOST``. In images without Python the program itself is the first process, and
the supervisor runs beside the service (see ``docker_outside``).
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator_runtime import contract, launch

from orchestrator.backends import debug, inputs, staging
from orchestrator.backends.base import AttemptContext
from orchestrator.backends.docker_values import (
    LABEL_ATTEMPT,
    LABEL_HOME,
    LABEL_JOB,
    DockerSettings,
    HostRequest,
    ImageFacts,
    Surroundings,
    attempt_name,
    container_name,
    labels,
    shared_network_name,
)
from orchestrator.backends.launchers import launched, launcher_environment
from orchestrator.errors import ImageError
from orchestrator.home import relay_name
from orchestrator.packaging.script import check_python
from orchestrator.spec.redact import masked_values

if TYPE_CHECKING:
    from orchestrator_runtime.contract import HostPlan, SandboxPlan

    from orchestrator.spec.job import Channel, TrainingJobSpec

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
SERVICE_VARIABLES = frozenset(
    {
        ENDPOINT_VARIABLE,
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_ALLOW_HTTP",
        "S3_ENDPOINT_URL",
    }
)
"""What a job is given to reach the service, beside its region."""
HOST = "/run/orchestrator/host"
NOTIFY = "/run/orchestrator/notify"
RELAY = "/run/orchestrator/relay"
INPUTS = "/run/orchestrator/inputs"
SOURCES = "/run/orchestrator/sources"
SCRATCH = "/tmp"  # noqa: S108  # the container's own
SECRETS_FILE = "secrets.json"
SHARED_FILES = (contract.LOG_FILE, contract.LOG_INDEX_FILE, contract.RECORDS_FILE)
"""Files that the service reads while the program runs: bound one by one, so that a program
cannot put a link or FIFO in their place (a mount point cannot be renamed or removed)."""

HARDENED_USER = "orchestrator"
_GIB = 1 << 30
_MIB = 1 << 20
_RESERVED_TARGETS = ("/run/orchestrator", contract.RUNTIME, "/proc", "/sys", "/dev", "/etc")


# -- the network -----------------------------------------------------------------------------


def network_request(settings: DockerSettings, context: AttemptContext) -> dict[str, Any] | None:
    """Return the network that an attempt's hosts are on, None for none at all.

    Hosts of one job see each other and nobody else's. Single hosts share a network on which
    containers cannot reach each other: the engine has addresses for some thirty networks only.
    An isolated job of several hosts gets a network that leads nowhere, whose gateway has no
    address, so that not even this machine can be reached.
    """
    spec = context.spec
    isolated, several = spec.enable_network_isolation, len(spec.hosts) > 1
    if isolated and not several:
        return None
    labels = {LABEL_HOME: str(settings.home)}
    if not several:
        return {
            "name": shared_network_name(settings),
            "driver": "bridge",
            "internal": False,
            "options": {"com.docker.network.bridge.enable_icc": "false"},
            "labels": labels,
        }
    labels |= {LABEL_JOB: spec.training_job_name, LABEL_ATTEMPT: str(context.attempt)}
    return {
        "name": attempt_name(settings, spec.training_job_name, context.attempt),
        "driver": "bridge",
        "internal": isolated,
        "options": {"com.docker.network.bridge.inhibit_ipv4": "true"} if isolated else {},
        "labels": labels,
    }


# -- the program -----------------------------------------------------------------------------


def program_argv(spec: TrainingJobSpec, image: ImageFacts, python: str | None) -> list[str]:
    """Return the command that a job runs.

    As on SageMaker, an image without further words is run as ``docker run IMAGE train``. What
    would fail there works here: the image's own command where it has no ``train``, and a script
    named by SAGEMAKER_PROGRAM, which the runtime's own ``train`` runs.

    Args:
        spec: The job.
        image: The image that it names.
        python: Interpreter for scripts; None when the image has none.

    Raises:
        ImageError: The job needs an interpreter that the image lacks.
        InvalidSpec: The script needs another version of Python.
    """
    algorithm = spec.algorithm_specification
    if algorithm.container_entrypoint:
        return [*algorithm.container_entrypoint, *(algorithm.container_arguments or ())]
    if spec.source_code is not None:
        if python is None:
            raise ImageError(
                f"source_code needs an image with Python 3.9 or newer on its PATH that user "
                f"{HARDENED_USER} may run, and {image.reference!r} has none; use another image, "
                "or container_entrypoint with a program of the image"
            )
        if spec.source_code.requires_python and image.version:
            check_python(spec.source_code.requires_python, image.version)
        return launch.program_argv(
            spec.source_code.entry_script,
            dict(spec.hyper_parameters),
            directory=f"{contract.ML}/{contract.CODE}",
            interpreter=python,
            extra=tuple(spec.source_code.arguments),
        )
    if algorithm.container_arguments:
        return [*image.entrypoint, *algorithm.container_arguments]
    return _image_argv(spec, image)


def _image_argv(spec: TrainingJobSpec, image: ImageFacts) -> list[str]:
    if image.entrypoint or image.has_train:
        return [*image.entrypoint, "train"]
    if image.python and launch.entry_of(spec.hyper_parameters, spec.environment):
        return [image.python, "-I", "-S", contract.RUNTIME, "train"]
    return list(image.command) or ["train"]


def program_directory(spec: TrainingJobSpec, image: ImageFacts) -> str:
    """Return the working directory of a job's program."""
    if spec.source_code is not None:
        return f"{contract.ML}/{contract.CODE}"
    return image.working_directory or "/"


def program_environment(
    around: Surroundings, context: AttemptContext, host: str
) -> dict[str, str]:
    """Return what is added to the image's environment, less SM_* and secrets."""
    spec = context.spec
    member = next(h for h in context.hosts if h.host == host)
    # Leased GPUs are the only ones inside, so they are counted from 0 there.
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(str(i) for i in range(len(member.gpus)))}
    if around.settings.profile == "hardened":
        # The user has no entry in the image's /etc/passwd.
        environment |= {"HOME": SCRATCH, "USER": HARDENED_USER, "LOGNAME": HARDENED_USER}
    if around.installed is not None:
        environment |= around.installed.environment
    environment |= launcher_environment(context, host) | _environment(around, context)
    environment |= {
        "TRAINING_JOB_NAME": spec.training_job_name,
        "TRAINING_JOB_ARN": context.arn,
        contract.ATTEMPT_VARIABLE: str(context.attempt),
    }
    return environment


def _environment(around: Surroundings, context: AttemptContext) -> dict[str, str]:
    """Return the job's own variables, without an address of the service that leads nowhere inside."""
    given = context.spec.environment
    if _service_address(around, context.spec) is None or relay_plan(around, context) is not None:
        return dict(given)
    return {name: value for name, value in given.items() if name not in SERVICE_VARIABLES}


# -- the supervisor's plan -------------------------------------------------------------------


def host_plan(
    around: Surroundings, context: AttemptContext, host: str, argv: list[str]
) -> HostPlan:
    """Return what the supervisor of one host is told.

    Args:
        around: What the plan depends on.
        context: The attempt.
        host: The host.
        argv: What it runs: the program, or outside the container what runs the container.
    """
    spec = context.spec
    inside = around.inside
    directory = context.host_directory(host)
    sandbox: SandboxPlan = {
        "kind": "container" if inside else "none",
        "prefix": [],
        "namespaces": None,
    }
    environment = program_environment(around, context, host)
    notify = None
    if around.notify is not None:
        notify = NOTIFY if inside else str(around.notify)
    if not inside:
        environment["TMPDIR"] = SCRATCH
    secrets = f"{HOST if inside else directory}/{SECRETS_FILE}"
    return {
        "format": contract.FORMAT,
        "job_name": spec.training_job_name,
        "attempt": context.attempt,
        "host": host,
        "ml": contract.ML if inside else str(directory / contract.ML_DIRECTORY),
        "base": contract.ML,
        "argv": argv,
        "cwd": program_directory(spec, around.image) if inside else "/",
        "environment": environment,
        "secrets": secrets if context.secrets else None,
        "masked": list(masked_values(spec)),
        "install": around.installed.install if around.installed else None,
        "sandbox": sandbox,
        "limits": {
            "max_runtime_seconds": spec.stopping_condition.max_runtime_in_seconds,
            "grace_seconds": spec.stop_grace_seconds,
            "log_bytes": around.settings.log_bytes,
            "memory_bytes": None,  # the engine enforces it
            "cpus": spec.resources.cpus if spec.resources.limit_cpus else None,
        },
        "compression": spec.output_data_config.compression_type,
        "notify": notify,
        "pipes": _pipes(around, context, host),
        "relay": relay_plan(around, context),
        "volume": _volume(around, context, host),
        "debug": debug.plan_path(spec, contract.ML) if inside else None,
    }


def relay_plan(around: Surroundings, context: AttemptContext) -> contract.RelayPlan | None:
    """Return where the program finds the service, if that is on a loopback address of this machine.

    The supervisor hands on what comes to the same address inside, so images without Python have none.
    """
    if not around.inside or context.spec.enable_network_isolation:
        return None
    return _service_address(around, context.spec)


def _service_address(around: Surroundings, spec: TrainingJobSpec) -> contract.RelayPlan | None:
    """Return the address of a service that a job is given; None if there is none, or another's."""
    place = urlsplit(spec.environment.get(ENDPOINT_VARIABLE, ""))
    try:
        host, port = place.hostname or "", place.port or 0
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or no address at all
        return None
    name = relay_name(host, port)
    if not is_loopback or name not in around.relays:
        return None
    return {"host": host, "port": port, "socket": f"{RELAY}/{name}"}


def _volume(
    around: Surroundings, context: AttemptContext, host: str
) -> contract.VolumePlan | None:
    """Return the quota; inside, only the host directory shows the tree without what is mounted."""
    files = inputs.files_directory(context, host)
    plan = staging.volume_plan(context, host, str(files) if files else None)
    if plan is None or not around.inside:
        return plan
    own = [f"{HOST}/{contract.ML_DIRECTORY}", f"{HOST}/{contract.SCRATCH_DIRECTORY}"]
    kept = staging.kept_directories(context)
    own += [one.target for one in kept if staging.is_own(context, one)]
    shown = f"{INPUTS}/{inputs.FILES}" if files else None
    return {"bytes": plan["bytes"], "written": own, "inputs": shown}


def _pipes(around: Surroundings, context: AttemptContext, host: str) -> list[contract.PipePlan]:
    if around.inside:
        return inputs.pipe_plans(
            context, host, f"{INPUTS}/{inputs.PIPES}", lambda channel, _: _source(channel)
        )
    return inputs.pipe_plans(
        context, host, str(inputs.inputs_directory(context, host) / inputs.PIPES)
    )


def _source(channel: Channel) -> str:
    return f"{SOURCES}/{channel.channel_name}"


# -- the container ---------------------------------------------------------------------------


def host_request(around: Surroundings, context: AttemptContext, host: str) -> HostRequest:
    """Return all that is asked of the engine for one host.

    Raises:
        ImageError: The image cannot run this job.
    """
    settings, image, inside = around.settings, around.image, around.inside
    python = around.installed.python if around.installed else image.python
    argv = launched(context, host, program_argv(context.spec, image, python))
    name = container_name(settings, context, host)
    network = network_request(settings, context)
    attach = Path(__file__).with_name("docker_attach.py")
    outside = [settings.python, "-I", str(attach), str(context.host_directory(host))]
    create: dict[str, Any] = {
        "Image": image.id,
        "Hostname": host,
        "User": "{}:{}".format(*around.user),
        "Entrypoint": supervisor_argv(image) if inside else argv,
        "Cmd": [],
        "WorkingDir": "/" if inside else program_directory(context.spec, image),
        "Env": [] if _gpus(context, host) else ["NVIDIA_VISIBLE_DEVICES=void"],
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": labels(settings, context, host, image),
        "HostConfig": _host_config(around, context, host, network),
    }
    if network is not None and len(context.spec.hosts) > 1:
        create["NetworkingConfig"] = {"EndpointsConfig": {network["name"]: {"Aliases": [host]}}}
    plan = host_plan(around, context, host, argv if inside else outside)
    return HostRequest(name, create, network, plan, inside)


def supervisor_argv(image: ImageFacts) -> list[str]:
    """Return the first process of a container with Python."""
    return [str(image.python), "-I", "-S", contract.RUNTIME, "supervise", HOST]


def _gpus(context: AttemptContext, host: str) -> tuple[int, ...]:
    return next(h.gpus for h in context.hosts if h.host == host)


def _host_config(
    around: Surroundings,
    context: AttemptContext,
    host: str,
    network: dict[str, Any] | None,
) -> dict[str, Any]:
    resources, gpus = context.spec.resources, _gpus(context, host)
    config: dict[str, Any] = {
        "Init": True,
        "AutoRemove": False,
        "NetworkMode": network["name"] if network else "none",
        "Mounts": mounts(around, context, host),
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": around.settings.pids_limit,
        "ShmSize": resources.shm_size_mib * _MIB,
        "LogConfig": _log_config(inside=around.inside),
    }
    if network is None:  # the program's own name must resolve all the same
        config["ExtraHosts"] = [f"{host}:127.0.0.1"]
    elif network["internal"]:
        # The engine would forward questions to the outside; now they fail, and soon.
        config |= {"Dns": ["127.0.0.1"], "DnsOptions": ["timeout:1", "attempts:3"]}
    if around.settings.profile == "hardened":
        config["CapDrop"] = ["ALL"]
        config["ReadonlyRootfs"] = around.settings.read_only_root
    if resources.memory_gib is not None:
        limit = int(resources.memory_gib * _GIB)
        config |= {"Memory": limit, "MemorySwap": limit}  # the sum of both: no swap
    if resources.limit_cpus:
        config["NanoCpus"] = int(resources.cpus * 1e9)
    if gpus:
        devices = {"DeviceIDs": [str(index) for index in gpus], "Capabilities": [["gpu"]]}
        config["DeviceRequests"] = [{"Driver": "", "Count": 0, "Options": {}, **devices}]
    if around.engine.remaps_users:
        config["UsernsMode"] = "host"
    return config


def _log_config(*, inside: bool) -> dict[str, Any]:
    """Return where the engine puts output: nowhere, or a little of it.

    The program's output goes to the supervisor. What the engine sees comes from a supervisor
    that cannot start, and is worth keeping.
    """
    if not inside:
        return {"Type": "none"}
    return {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "1"}}


# -- what a container sees of this machine ---------------------------------------------------


def mounts(around: Surroundings, context: AttemptContext, host: str) -> list[dict[str, Any]]:
    """Return everything that is bound into a container."""
    directory = context.host_directory(host)
    bound = [
        _bind(directory / contract.SCRATCH_DIRECTORY, SCRATCH),
        _bind(directory / contract.ML_DIRECTORY, contract.ML),
        *(_bind(kept.directory, kept.target) for kept in staging.kept_directories(context)),
    ]
    bound += [
        _bind(mount.source, f"{contract.ML}/{mount.target}", read_only=True)
        for mount in inputs.channel_mounts(context, host)
    ]
    if around.inside:
        runtime = around.image.runtime or around.settings.runtime
        bound += [_bind(runtime, contract.RUNTIME, read_only=True), _bind(directory, HOST)]
        bound += [_bind(directory / name, f"{HOST}/{name}") for name in SHARED_FILES]
        artifacts = contract.ARTIFACTS_DIRECTORY
        bound.append(_bind(directory / artifacts, f"{HOST}/{artifacts}"))
        if around.notify is not None:
            bound.append(_bind(around.notify, NOTIFY))
        if around.settings.relay is not None and relay_plan(around, context) is not None:
            # The directory, for a service that starts again has a new socket in it.
            bound.append(_bind(around.settings.relay, RELAY, read_only=True))
        bound += _supervised_inputs(context, host)
    installed = around.installed
    if installed is not None and installed.directory is not None:
        complete = installed.install is None
        bound.append(_bind(installed.directory, installed.target, read_only=complete))
    return bound


def _supervised_inputs(context: AttemptContext, host: str) -> list[dict[str, Any]]:
    """Return what only the supervisor needs of the inputs."""
    views = {inputs.view_of(context.spec, c) for c in inputs.channels_of(context, host)}
    bound = []
    if views & {inputs.View.LINK, inputs.View.PIPE}:
        bound.append(_bind(inputs.inputs_directory(context, host), INPUTS, read_only=True))
    for channel in inputs.pipe_channels(context, host):
        place = inputs.pipe_source(channel)
        if place is not None:
            bound.append(_bind(place, _source(channel), read_only=True))
    return bound


def _bind(source: Path, target: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}


def reserved_target(path: str) -> bool:
    """Return whether nothing may be mounted at a path inside containers."""
    clean = "/" + "/".join(part for part in path.split("/") if part not in {"", "."})
    if not path.startswith("/") or ".." in path.split("/") or clean in {"/", contract.ML}:
        return True
    return any(clean == taken or clean.startswith(f"{taken}/") for taken in _RESERVED_TARGETS)

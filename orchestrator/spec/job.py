"""What is asked for: the specification of one training job.

Names, limits and patterns are those of CreateTrainingJob (botocore service model "sagemaker"),
in snake case. Fields that SageMaker lacks (``source_code``, ``resources``, ``backend``,
``python``, ``priority``, ``secrets``, ``early_stopping``) say so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from orchestrator import ids
from orchestrator.spec.base import Spec
from orchestrator.spec.debug import Debugger
from orchestrator.spec.early import EarlyStopping
from orchestrator.spec.places import LocalPath, Place, no_nul

InputMode = Literal["File", "FastFile", "Pipe"]
JobName = Annotated[
    str,
    StringConstraints(
        pattern=ids.JOB_NAME_PATTERN, max_length=ids.JOB_NAME_MAX_LENGTH, min_length=1
    ),
]
ChannelName = Annotated[
    str, StringConstraints(pattern=ids.CHANNEL_NAME_PATTERN, min_length=1, max_length=64)
]


Argument = Annotated[str, StringConstraints(max_length=256), AfterValidator(no_nul)]
HyperParameterKey = Annotated[str, StringConstraints(max_length=256), AfterValidator(no_nul)]
HyperParameterValue = Annotated[str, StringConstraints(max_length=2500), AfterValidator(no_nul)]
EnvironmentName = Annotated[
    str, StringConstraints(pattern=ids.ENVIRONMENT_NAME_PATTERN, max_length=512)
]


def _json_object(text: str) -> str:
    if not text.startswith("{") or not isinstance(json.loads(text), dict):
        raise ValueError("create_request must be the JSON of a CreateTrainingJob request")
    return text


EnvironmentValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(no_nul)]

RESERVED_ENVIRONMENT = re.compile(r"SM_(?!LOG_LEVEL$)|TRAINING_JOB_|ORCHESTRATOR_")
MAX_INSTANCES = 1000
"""Of one job or instance group; more than any quota of SageMaker's training jobs."""
RESERVED_CHANNELS = frozenset({".", ".."})


def _legal_regex(text: str) -> str:
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"regex must be a Python regular expression, got {text!r}: {error}; correct that place"
        ) from error
    if pattern.groups < 1:
        raise ValueError(
            f"regex must have one group that captures the value, got {text!r}; "
            "put parentheses around the number"
        )
    return text


class MetricDefinition(Spec):
    """A regular expression that turns a log line into a metric; group 1 is the value."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    regex: Annotated[
        str, StringConstraints(min_length=1, max_length=500), AfterValidator(_legal_regex)
    ]


class AlgorithmSpecification(Spec):
    """Which program runs: an image with its entry point, or the image of a source directory."""

    training_image: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    """Image reference; None for source code on the process back end."""
    training_input_mode: InputMode = "File"
    metric_definitions: tuple[MetricDefinition, ...] = Field(default=(), max_length=40)
    container_entrypoint: tuple[Argument, ...] | None = Field(
        default=None, min_length=1, max_length=100
    )
    container_arguments: tuple[Argument, ...] | None = Field(
        default=None, min_length=1, max_length=100
    )


Launcher = Literal["script", "torchrun", "multi_worker_mirrored"]


class SourceArchive(Spec):
    """Packed user code. Not a CreateTrainingJob member: SageMaker ships code as a channel."""

    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the packed source archive in the blob store."""
    entry_script: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """Path of the script inside the archive; ``.py`` or ``.sh``."""
    requirements: str | None = None
    """Path of the requirements file inside the archive."""
    dependencies: tuple[str, ...] = Field(default=(), max_length=500)
    """Requirements declared inline in the script (PEP 723)."""
    requires_python: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Version specifier declared there, such as ``>=3.11``."""
    arguments: tuple[Annotated[str, AfterValidator(no_nul)], ...] = Field(
        default=(), max_length=100
    )
    """Extra command-line arguments, after the hyperparameters."""
    launcher: Launcher = "script"
    """How the script is started on each host: once; by torchrun, a rank per GPU; or once, as one of
    TensorFlow's workers, which find each other by ``TF_CONFIG``."""


class ChannelShuffle(Spec):
    """Seed of the order in which a channel's objects are given."""

    seed: int


class Channel(Spec):
    """A named input, placed at ``/opt/ml/input/data/<channel_name>``."""

    channel_name: ChannelName
    uri: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """``s3://bucket/prefix``, ``file:///path`` or an absolute path."""
    s3_data_type: Literal["S3Prefix", "ManifestFile", "AugmentedManifestFile"] = "S3Prefix"
    s3_data_distribution_type: Literal["FullyReplicated", "ShardedByS3Key"] = "FullyReplicated"
    attribute_names: tuple[str, ...] = Field(default=(), max_length=16)
    instance_group_names: tuple[str, ...] = Field(default=(), max_length=5)
    input_mode: InputMode | None = None
    """Overrides the job's ``training_input_mode``."""
    content_type: Annotated[str, StringConstraints(max_length=256)] | None = None
    compression_type: Literal["None", "Gzip"] = "None"
    record_wrapper_type: Literal["None", "RecordIO"] = "None"
    shuffle_config: ChannelShuffle | None = None
    writable: bool = False
    """Give the job its own writable copy instead of a read-only view. Not a SageMaker member."""

    @field_validator("channel_name")
    @classmethod
    def _safe_name(cls, name: str) -> str:
        if name in RESERVED_CHANNELS:
            raise ValueError(
                f"channel_name must not be a directory reference, got {name!r}; use a word"
            )
        return name

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if uri.startswith(("s3://", "file:///", "/")):
            return uri
        raise ValueError(
            f"uri must start with s3://, file:/// or / (an absolute path), got {uri!r}; give the "
            "whole address"
        )


class OutputDataConfig(Spec):
    """Where the artifacts go."""

    s3_output_path: Place | None = None
    """None = the job's folder in the home directory."""
    compression_type: Literal["GZIP", "NONE"] = "GZIP"
    kms_key_id: str | None = None


class InstanceGroup(Spec):
    """One group of equal instances of a heterogeneous job."""

    instance_group_name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    instance_type: str
    instance_count: int = Field(ge=1, le=MAX_INSTANCES)


class ResourceConfig(Spec):
    """Instances, as SageMaker names them; on this machine instance types are labels."""

    instance_type: str = "local"
    instance_count: int = Field(default=1, ge=1, le=MAX_INSTANCES)
    instance_groups: tuple[InstanceGroup, ...] = Field(default=(), max_length=5)
    volume_size_in_gb: int | None = Field(default=None, ge=1)
    """Space that each host's files may take, in GiB; None = no quota."""
    keep_alive_period_in_seconds: int = Field(default=0, ge=0, le=21600)

    @model_validator(mode="after")
    def _distinct_groups(self) -> Self:
        names = Counter(group.instance_group_name for group in self.instance_groups)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(
                f"instance_group_name must be unique, got {twice[0]!r} twice; rename one"
            )
        return self


class Resources(Spec):
    """What one host really takes of this machine. Not a SageMaker member."""

    cpus: float = Field(default=1, gt=0)
    """CPU slots; also the CPU limit when ``limit_cpus``."""
    gpus: int | None = Field(default=None, ge=0)
    """GPUs; None = as many as the instance type has, at most those present."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Memory that is claimed and enforced; None = no claim and no limit."""
    share_gpus: bool = False
    """Allow other jobs that also say so on the same GPUs."""
    limit_cpus: bool = False
    """Enforce ``cpus`` as a hard limit instead of only counting it."""
    shm_size_mib: int = Field(default=1024, ge=1)
    """Size of /dev/shm in Docker (the engine's own default of 64 MiB kills data loaders)."""


class StoppingCondition(Spec):
    """How long a job may take."""

    max_runtime_in_seconds: int = Field(default=86400, ge=1)
    max_wait_time_in_seconds: int | None = Field(default=None, ge=1)
    max_pending_time_in_seconds: int | None = Field(default=None, ge=1)
    """Longest time in the queue. SageMaker asks for at least 1,800; here any value is taken."""


class RetryStrategy(Spec):
    """How often infrastructure faults are answered with a new attempt."""

    maximum_retry_attempts: int = Field(default=1, ge=0, le=30)
    retry_user_errors: bool = False
    """Also retry when the program itself fails. Not a SageMaker member."""


class CheckpointConfig(Spec):
    """Where checkpoints are kept between attempts and jobs."""

    s3_uri: Place | None = None
    """None = kept between the attempts of this job only. Of a tuning job: each of its training jobs
    has a place of its own below this one, by its name."""
    local_path: LocalPath = "/opt/ml/checkpoints"


class TensorBoardOutputConfig(Spec):
    """Where the program writes TensorBoard event files."""

    s3_output_path: Place
    local_path: LocalPath = "/opt/ml/output/tensorboard"


class Tag(Spec):
    """A label."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    value: Annotated[str, StringConstraints(max_length=256)] = ""


class TrainingJobSpec(Spec):
    """One request to run a training program to a terminal status. Never changes after submit."""

    training_job_name: JobName
    algorithm_specification: AlgorithmSpecification = AlgorithmSpecification()
    source_code: SourceArchive | None = None
    role_arn: Annotated[str, StringConstraints(min_length=20, max_length=2048)] | None = None
    hyper_parameters: dict[HyperParameterKey, HyperParameterValue] = Field(
        default_factory=dict, max_length=100
    )
    environment: dict[EnvironmentName, EnvironmentValue] = Field(
        default_factory=dict, max_length=100
    )
    secrets: tuple[EnvironmentName, ...] = Field(default=(), max_length=100)
    """Names of secret variables; the values travel beside the specification, never in it."""
    input_data_config: tuple[Channel, ...] = Field(default=(), max_length=20)
    output_data_config: OutputDataConfig = OutputDataConfig()
    resource_config: ResourceConfig = ResourceConfig()
    resources: Resources = Resources()
    stopping_condition: StoppingCondition = StoppingCondition()
    retry_strategy: RetryStrategy = RetryStrategy()
    checkpoint_config: CheckpointConfig | None = None
    tensor_board_output_config: TensorBoardOutputConfig | None = None
    debugger: Debugger | None = None
    """What is watched while it trains; None = nothing. SageMaker: ``DebugHookConfig`` and
    ``DebugRuleConfigurations``."""
    early_stopping: EarlyStopping | None = None
    """When it is ended because it does not get better; None = never. Not a SageMaker member."""
    tags: tuple[Tag, ...] = Field(default=(), max_length=50)
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Higher starts first; equal priorities start in order of submission."""
    enable_network_isolation: bool = False
    backend: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}$")] = "process"
    """``process`` or ``docker``."""
    python: str | None = None
    """Interpreter of the process back end; None = the service's own choice."""
    stop_grace_seconds: float = Field(default=120, ge=0, le=3600)
    """Time between SIGTERM and SIGKILL (SageMaker's is 120 s)."""
    create_request: (
        Annotated[str, StringConstraints(max_length=1 << 20), AfterValidator(_json_object)] | None
    ) = None
    """JSON of the CreateTrainingJob request of a job that came over AWS's interface, to be echoed;
    shown nowhere else."""

    @field_validator("environment")
    @classmethod
    def _environment_not_reserved(cls, environment: dict[str, str]) -> dict[str, str]:
        _refuse_reserved(environment)
        return environment

    @field_validator("secrets")
    @classmethod
    def _secrets_not_reserved(cls, secrets: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_reserved(secrets)
        return secrets

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_program(self)
        _check_channels(self)
        twice = [key for key, count in Counter(t.key for t in self.tags).items() if count > 1]
        if twice:
            raise ValueError(f"tag keys must be unique, got {twice[0]!r} twice; drop one")
        return self

    def input_mode_of(self, channel: Channel) -> InputMode:
        """Return how a channel is given: as it says itself, else as the job says.

        A job cannot change what is streamed or lent, so writable channels are files.
        """
        if channel.input_mode is not None:
            return channel.input_mode
        return "File" if channel.writable else self.algorithm_specification.training_input_mode

    @property
    def hosts(self) -> tuple[tuple[str, str, str], ...]:
        """One ``(host name, instance group, instance type)`` per host, in rank order."""
        config = self.resource_config
        groups = config.instance_groups or (
            InstanceGroup(
                instance_group_name="homogeneousCluster",
                instance_type=config.instance_type,
                instance_count=config.instance_count,
            ),
        )
        members = [g for g in groups for _ in range(g.instance_count)]
        return tuple(
            (ids.host_name(rank), g.instance_group_name, g.instance_type)
            for rank, g in enumerate(members)
        )


def _refuse_reserved(names: Iterable[str]) -> None:
    for name in names:
        if RESERVED_ENVIRONMENT.match(name):
            raise ValueError(
                "environment names SM_*, TRAINING_JOB_* and ORCHESTRATOR_* are set by the "
                f"platform, got {name!r}; choose another name"
            )


def _check_program(spec: TrainingJobSpec) -> None:
    image = spec.algorithm_specification.training_image
    if (
        spec.source_code is None
        and image is None
        and spec.algorithm_specification.container_entrypoint is None
    ):
        raise ValueError(
            "a job needs source_code, algorithm_specification.training_image or "
            "container_entrypoint, got none of them; give one"
        )
    if spec.backend == "docker" and image is None:
        raise ValueError(
            "the docker back end needs algorithm_specification.training_image; name an image or "
            "use backend='process'"
        )


def _check_channels(spec: TrainingJobSpec) -> None:
    names = Counter(channel.channel_name for channel in spec.input_data_config)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"channel_name must be unique, got {twice[0]!r} twice; rename one")
    groups = {group for _, group, _ in spec.hosts}
    for channel in spec.input_data_config:
        unknown = set(channel.instance_group_names) - groups
        if unknown:
            raise ValueError(
                f"channel {channel.channel_name!r} names instance group {sorted(unknown)[0]!r}; "
                f"the job has {sorted(groups)}; name one of these"
            )

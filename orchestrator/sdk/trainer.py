"""``ModelTrainer``: describe a training job once, train as often as you like."""

from __future__ import annotations

import os
import uuid
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import ids
from orchestrator.errors import InvalidSpec
from orchestrator.home import interpreter
from orchestrator.sdk import given
from orchestrator.sdk.config import Compute, InputData, SourceCode
from orchestrator.sdk.jobs import TrainingJob
from orchestrator.sdk.transport import Transport, connect
from orchestrator.spec.debug import Debugger
from orchestrator.spec.early import EarlyStopping
from orchestrator.spec.job import (
    AlgorithmSpecification,
    Channel,
    CheckpointConfig,
    MetricDefinition,
    OutputDataConfig,
    ResourceConfig,
    Resources,
    RetryStrategy,
    SourceArchive,
    StoppingCondition,
    Tag,
    TensorBoardOutputConfig,
    TrainingJobSpec,
)
from orchestrator.spec.record import TrainingJobRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.sdk.lines import OutputLine

    Channels = Sequence[InputData] | Mapping[str, str | Path | InputData]


class ModelTrainer:
    """Trains a script, a directory, a function or an image.

    Nouns and argument names follow ``sagemaker.train.ModelTrainer`` where the idea is the same.

    Args:
        source_code: Your code, or a function that stands on its own.
        training_image: Image of the docker back end.
        compute: Where it runs and what it takes.
        base_job_name: Beginning of the jobs' names.
        hyperparameters: Become ``--name value`` arguments and ``SM_HP_*`` variables.
        environment: Variables of the program.
        secrets: Names of variables whose values are taken from your environment when you
            train or tune, and are shown nowhere.
        input_data_config: Channels of every ``train`` call: ``InputData`` values, or
            ``{name: where its data is}``.
        output_data_config: Where artifacts go.
        stopping_condition: Time limits.
        retry_strategy: Answers to infrastructure faults.
        checkpoint_config: Where checkpoints are kept.
        tensorboard_output_config: Where event files are kept.
        debugger: What is watched while it trains, and which findings end it.
        early_stopping: When it is ended because a metric does not get better; its best
            checkpoint becomes the model artifact.
        metric_definitions: ``MetricDefinition`` values or ``{"Name", "Regex"}`` mappings.
        tags: ``{name: value}``.
        priority: Higher starts first.
        enable_network_isolation: No network for the job.
        stop_grace_seconds: Time between SIGTERM and SIGKILL.
        transport: How the service is reached; by default see ``connect``.
    """

    def __init__(
        self,
        *,
        source_code: SourceCode | Callable[..., Any] | str | Path | None = None,
        training_image: str | None = None,
        compute: Compute | Mapping[str, Any] | None = None,
        base_job_name: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        input_data_config: Channels = (),
        output_data_config: OutputDataConfig | None = None,
        stopping_condition: StoppingCondition | None = None,
        retry_strategy: RetryStrategy | None = None,
        checkpoint_config: CheckpointConfig | None = None,
        tensorboard_output_config: TensorBoardOutputConfig | None = None,
        debugger: Debugger | Mapping[str, Any] | None = None,
        early_stopping: EarlyStopping | Mapping[str, Any] | None = None,
        metric_definitions: Sequence[MetricDefinition | Mapping[str, str]] = (),
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        enable_network_isolation: bool = False,
        entrypoint: Sequence[str] | None = None,
        arguments: Sequence[str] | None = None,
        stop_grace_seconds: float = 120,
        transport: Transport | None = None,
    ) -> None:
        self.source_code = given.source_code(source_code)
        self.training_image = training_image
        self.compute = given.value(Compute, compute or {}, "compute")
        self.base_job_name = base_job_name or self._default_base_name()
        self.hyperparameters = given.mapping(hyperparameters, "hyperparameters")
        self.environment = given.mapping(environment, "environment")
        self.secrets = given.names(secrets, "secrets")
        self.input_data_config = tuple(given.channels(input_data_config).values())
        self.output_data_config = given.value(
            OutputDataConfig, output_data_config or {}, "output_data_config"
        )
        self.stopping_condition = given.value(
            StoppingCondition, stopping_condition or {}, "stopping_condition"
        )
        self.retry_strategy = given.value(RetryStrategy, retry_strategy or {}, "retry_strategy")
        self.checkpoint_config = given.optional(
            CheckpointConfig, checkpoint_config, "checkpoint_config"
        )
        self.tensorboard_output_config = given.optional(
            TensorBoardOutputConfig, tensorboard_output_config, "tensorboard_output_config"
        )
        self.debugger = given.optional(Debugger, debugger, "debugger")
        self.early_stopping = given.optional(EarlyStopping, early_stopping, "early_stopping")
        self.metric_definitions = given.metric_definitions(metric_definitions)
        self.tags = given.mapping(tags, "tags")
        self.priority = priority
        self.enable_network_isolation = enable_network_isolation
        self.entrypoint = given.names(entrypoint, "entrypoint") or None
        self.arguments = given.names(arguments, "arguments") or None
        self.stop_grace_seconds = stop_grace_seconds
        self._transport = transport

    def __repr__(self) -> str:
        what = self.training_image or (self.source_code and self.source_code.entry_script)
        return f"ModelTrainer({what or 'nothing'!r}, base_job_name={self.base_job_name!r})"

    def train(
        self,
        input_data_config: Channels | None = None,
        *,
        wait: bool = True,
        logs: bool = True,
        job_name: str | None = None,
        on_line: Callable[[OutputLine], None] | None = None,
        on_change: Callable[[TrainingJobRecord], None] | None = None,
    ) -> TrainingJob:
        """Submit a job and return its handle.

        Args:
            input_data_config: Channels; replaces the trainer's own of the same name.
            wait: Return when the job has ended. Interrupting detaches; the job goes on.
            logs: While waiting, print the log lines.
            job_name: Its name; by default base name and time.
            on_line: While waiting, gets every log line instead.
            on_change: While waiting, gets the record at every change.

        Raises:
            InvalidSpec: A rule is broken; nothing was started.
        """
        transport = self._transport or connect()
        secrets = self.secret_values()
        for text in transport.ignored_settings():
            warnings.warn(text, stacklevel=2)
        spec = self.specification(
            transport, job_name=job_name, input_data_config=input_data_config
        )
        record = transport.submit(
            spec.model_dump(mode="json", exclude_defaults=True),
            secrets=secrets,
            idempotency_key=uuid.uuid4().hex,
        )
        job = TrainingJob(TrainingJobRecord.model_validate(record), transport)
        if wait:
            self._wait(job, logs=logs, on_line=on_line, on_change=on_change)
        return job

    @staticmethod
    def _wait(
        job: TrainingJob,
        *,
        logs: bool,
        on_line: Callable[[OutputLine], None] | None,
        on_change: Callable[[TrainingJobRecord], None] | None,
    ) -> None:
        from orchestrator.sdk.notebook import in_notebook, wait_in_notebook  # noqa: PLC0415

        if in_notebook() and on_line is None and on_change is None:
            wait_in_notebook(job, logs=logs)
        else:
            job.wait(logs=logs, on_line=on_line, on_change=on_change)

    # -- the specification -----------------------------------------------------------------

    @property
    def transport(self) -> Transport | None:
        """How the service is reached; None = as ``connect`` says."""
        return self._transport

    def specification(
        self,
        transport: Transport,
        *,
        job_name: str | None = None,
        input_data_config: Channels | None = None,
        without: Sequence[str] = (),
        metric_definitions: Sequence[MetricDefinition] = (),
    ) -> TrainingJobSpec:
        """Upload the source, and return what would be submitted.

        Args:
            transport: How the service is reached.
            job_name: Its name; by default base name and time.
            input_data_config: Channels; replaces the trainer's own of the same name.
            without: Hyperparameters that are left out.
            metric_definitions: Replace the trainer's own of the same name.

        Raises:
            InvalidSpec: A rule is broken.
        """
        metrics = {each.name: each for each in (*self.metric_definitions, *metric_definitions)}
        return TrainingJobSpec.parse(
            {
                **self._what(self._upload(transport), metrics.values()),
                "training_job_name": ids.unique_name(self.base_job_name, datetime.now(UTC))
                if job_name is None
                else job_name,
                "hyper_parameters": given.hyperparameters(
                    {n: v for n, v in self.hyperparameters.items() if n not in without}
                ),
                "input_data_config": self._channels(input_data_config),
            }
        )

    def secret_values(self) -> dict[str, str]:
        """Return the values of the secrets, from this process's environment.

        Raises:
            InvalidSpec: One has none.
        """
        missing = [name for name in self.secrets if name not in os.environ]
        if missing:
            raise InvalidSpec(
                f"every secret needs a value, got none for {missing[0]!r}; set the environment "
                "variable of that name first"
            )
        return {name: os.environ[name] for name in self.secrets}

    def _default_base_name(self) -> str:
        if self.source_code is not None:
            script = Path(self.source_code.entry_script)
            directory = self.source_code.source_dir
            name = Path(directory).absolute().name if directory else script.stem
            return ids.base_name(name)
        if self.training_image:
            return ids.base_name(self.training_image.rpartition("/")[2].partition(":")[0])
        return "job"

    def _upload(self, transport: Transport) -> SourceArchive | None:
        if self.source_code is None:
            return None
        from orchestrator.sdk.upload import upload_source  # noqa: PLC0415  # loads tarfile

        return upload_source(self.source_code, transport)

    def _what(
        self, source: SourceArchive | None, metrics: Iterable[MetricDefinition]
    ) -> dict[str, Any]:
        """Return what is the same for all jobs of this trainer."""
        compute = self.compute
        backend = compute.backend or ("docker" if self.training_image else "process")
        return {
            "algorithm_specification": AlgorithmSpecification.parse(
                {
                    "training_image": self.training_image,
                    "metric_definitions": tuple(metrics),
                    "container_entrypoint": self.entrypoint,
                    "container_arguments": self.arguments,
                }
            ),
            "source_code": source,
            "environment": self.environment,
            "secrets": self.secrets,
            "output_data_config": self.output_data_config,
            "resource_config": ResourceConfig.parse(
                compute.model_dump(
                    include={
                        "instance_type",
                        "instance_count",
                        "instance_groups",
                        "volume_size_in_gb",
                        "keep_alive_period_in_seconds",
                    }
                )
            ),
            "resources": Resources.parse(
                compute.model_dump(
                    include={
                        "cpus",
                        "gpus",
                        "memory_gib",
                        "share_gpus",
                        "limit_cpus",
                        "shm_size_mib",
                    }
                )
            ),
            "stopping_condition": self.stopping_condition,
            "retry_strategy": self.retry_strategy,
            "checkpoint_config": self.checkpoint_config,
            "tensor_board_output_config": self.tensorboard_output_config,
            "debugger": self.debugger,
            "early_stopping": self.early_stopping,
            "tags": [Tag(key=key, value=value) for key, value in self.tags.items()],
            "priority": self.priority,
            "enable_network_isolation": self.enable_network_isolation,
            "backend": backend,
            "python": interpreter(compute.python) if backend == "process" else None,
            "stop_grace_seconds": self.stop_grace_seconds,
        }

    def _channels(self, more: Channels | None) -> list[Channel]:
        by_name = given.channels(self.input_data_config) | given.channels(more)
        return [
            Channel.parse(data.model_dump(exclude={"data_source"}) | {"uri": data.uri()})
            for data in by_name.values()
        ]

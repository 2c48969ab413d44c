"""What a trainer is made of. Names follow ``sagemaker.train.configs`` of SageMaker SDK v3."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from orchestrator.spec.base import Spec
from orchestrator.spec.job import ChannelShuffle, InputMode, InstanceGroup

if TYPE_CHECKING:
    from collections.abc import Callable


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


if TYPE_CHECKING:
    AnyPath = str | os.PathLike[str]  # what may be given
else:
    AnyPath = Annotated[str, BeforeValidator(_plain)]  # what is kept


class SourceCode(Spec):
    """Your code: a directory with an entry script, or a single file."""

    source_dir: AnyPath | None = None
    """Directory that is packed; None = the directory of nothing but the entry script."""
    entry_script: AnyPath
    """``.py`` or ``.sh``; relative to ``source_dir``, or a path of its own without one."""
    requirements: AnyPath | None = None
    """Requirements file, relative to ``source_dir``; None = the script's own declaration (PEP 723),
    else ``requirements.txt`` where there is one; an empty text = none."""
    ignore_patterns: tuple[str, ...] | None = None
    """Names that are not packed; None = .git, caches, virtual environments, …"""
    arguments: tuple[str, ...] = ()
    """Command-line arguments after the hyperparameters."""
    _text: str | None = PrivateAttr(default=None)  # of a script that is in no file

    @property
    def text(self) -> str | None:
        """Text of the entry script, where it was made of a function."""
        return self._text

    @classmethod
    def from_function(cls, function: Callable[..., Any]) -> SourceCode:
        """Make source code of a function that stands on its own.

        Its source text becomes a script (nothing is pickled); hyperparameters become its
        keyword arguments. What it uses it must import itself.

        Raises:
            InvalidSpec: The function's source cannot be read, or it does not stand on its own.
        """
        from orchestrator.sdk.function import script_of  # noqa: PLC0415  # rarely used

        script = script_of(function)
        code = cls(entry_script=f"{script.name}.py")
        code._text = script.text
        return code


class Compute(Spec):
    """Where it runs and what it takes."""

    instance_type: str = "local"
    """A label here; capacity counts the fields below."""
    instance_count: int = Field(default=1, ge=1)
    """Number of hosts, ``algo-1`` … ``algo-N``."""
    instance_groups: tuple[InstanceGroup, ...] = ()
    volume_size_in_gb: int | None = Field(default=None, ge=1)
    """Space that each host's files may take, in GiB; None = no quota."""
    keep_alive_period_in_seconds: int = Field(default=0, ge=0, le=21600)
    cpus: float = Field(default=1, gt=0)
    gpus: int | None = Field(default=None, ge=0)
    memory_gib: float | None = Field(default=None, gt=0)
    share_gpus: bool = False
    limit_cpus: bool = False
    shm_size_mib: int = Field(default=1024, ge=1)
    """Size of /dev/shm in Docker."""
    backend: Literal["process", "docker"] | None = None
    """None = docker for a training image, else process."""
    python: AnyPath | None = None
    """Interpreter of the process back end, by path or by name; None = the one you submit from."""


class InputData(Spec):
    """A named input channel."""

    channel_name: str
    data_source: AnyPath
    """Local path, ``file:///…`` or ``s3://…``."""
    content_type: str | None = None
    input_mode: InputMode | None = None
    """``File``, ``FastFile`` or ``Pipe``; None = File."""
    s3_data_type: Literal["S3Prefix", "ManifestFile", "AugmentedManifestFile"] = "S3Prefix"
    s3_data_distribution_type: Literal["FullyReplicated", "ShardedByS3Key"] = "FullyReplicated"
    attribute_names: tuple[str, ...] = ()
    """Of an augmented manifest, in the order in which they are streamed."""
    instance_group_names: tuple[str, ...] = ()
    """Groups that get the channel; none = all."""
    compression_type: Literal["None", "Gzip"] = "None"
    record_wrapper_type: Literal["None", "RecordIO"] = "None"
    shuffle_config: ChannelShuffle | None = None
    """Seed of the order of each epoch in Pipe mode, and of what each host gets of a sharded channel."""
    writable: bool = False
    """Give the job a copy of its own; what is not writable is mounted read-only."""

    def uri(self) -> str:
        """Return the channel's address; local paths become absolute."""
        source = str(self.data_source)
        return source if "://" in source else str(Path(source).expanduser().absolute())

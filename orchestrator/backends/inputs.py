"""How the channels of a host get to its program: shown in place, linked, copied or piped.

What is shown or linked is mounted read-only, so that a job cannot change the original. It lies
beside the host directory, since a container can write to all of that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from orchestrator_runtime import contract

from orchestrator.blobs.files import remove_tree
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from orchestrator.backends.base import AttemptContext
    from orchestrator.spec.job import Channel, TrainingJobSpec

INPUTS_DIRECTORY = "inputs"
"""Of a job: ``inputs/<attempt>/<host>/<mode>/<channel>``."""
FILES, PIPES = "file", "pipe"
"""Modes whose directories are shown to supervisors: what may take space, and what is streamed."""
ITEMS_FILE, OBJECTS_DIRECTORY = "items", "objects"
"""Of a channel in Pipe mode."""


class View(Enum):
    """How a channel reaches the program."""

    IN_PLACE = auto()
    """A path of this machine, mounted read-only; a symbolic link where nothing can be mounted."""
    LINK = auto()
    """Put beside the host directory, where it may share bytes with the original; mounted read-only."""
    COPY = auto()
    """Put into the tree, as the job's own."""
    PIPE = auto()
    """Put beside the host directory; the supervisor writes it into FIFOs."""


@dataclass(frozen=True)
class Fetch:
    """What one host wants of a channel.

    Attributes:
        directory: Where it goes.
        rank: Index of the host among those that get the channel.
        hosts: Number of these.
        room_bytes: Size of the host's volume; None = no limit. Only files take space of it.
        by_beginning: Objects whose names only begin with the location's count, where no others are.
    """

    channel: Channel
    directory: Path
    view: View
    rank: int
    hosts: int
    room_bytes: int | None = None
    by_beginning: bool = False


InputFetcher = Callable[[Fetch], None]
"""Brings a channel that cannot be shown in place."""


@dataclass(frozen=True)
class Mount:
    """A file or directory of this machine shown read-only inside a job.

    Attributes:
        target: Path relative to the /opt/ml tree.
    """

    source: Path
    target: str


def local_path(uri: str) -> Path | None:
    """Return the path that a ``file://`` URI or plain path names; None for object URIs."""
    if uri.startswith("/"):
        return Path(uri)
    if uri.startswith("file://"):
        return Path(unquote(urlparse(uri).path))
    return None


def shown_in_place(channel: Channel) -> Path | None:
    """Return the path of a channel that is all of a path of this machine, else None."""
    whole = channel.s3_data_type == "S3Prefix" and not is_sharded(channel)
    return local_path(channel.uri) if whole else None


def is_sharded(channel: Channel) -> bool:
    """Return whether each host gets only its part of the channel."""
    return channel.s3_data_distribution_type == "ShardedByS3Key"


def view_of(spec: TrainingJobSpec, channel: Channel, *, can_mount: bool = True) -> View:
    """Return how a channel reaches the program.

    Args:
        spec: The job.
        channel: One of its channels.
        can_mount: Whether the program gets mounts.
    """
    if spec.input_mode_of(channel) == "Pipe":
        return View.PIPE
    if channel.writable:
        return View.COPY
    if shown_in_place(channel) is not None:
        return View.IN_PLACE
    return View.LINK if can_mount else View.COPY


def channels_of(context: AttemptContext, host: str) -> tuple[Channel, ...]:
    """Return the channels that one host gets: all, or those that name its instance group."""
    group = next(h.instance_group for h in context.hosts if h.host == host)
    return tuple(c for c in context.spec.input_data_config if _goes_to(c, group))


def _goes_to(channel: Channel, group: str) -> bool:
    return not channel.instance_group_names or group in channel.instance_group_names


def share_of(context: AttemptContext, host: str, channel: Channel) -> tuple[int, int]:
    """Return the index of a host among those that get a channel, and their number."""
    members = [h.host for h in context.hosts if _goes_to(channel, h.instance_group)]
    return members.index(host), len(members)


def inputs_directory(context: AttemptContext, host: str) -> Path:
    """Return where channels of a host are put that are no part of its tree."""
    return _attempt_inputs(context) / host


def _attempt_inputs(context: AttemptContext) -> Path:
    return context.job_directory / INPUTS_DIRECTORY / str(context.attempt)


def _place_of(context: AttemptContext, host: str, channel: Channel) -> Path:
    mode = context.spec.input_mode_of(channel).lower()
    return inputs_directory(context, host) / mode / channel.channel_name


def channel_mounts(
    context: AttemptContext, host: str, *, can_mount: bool = True
) -> tuple[Mount, ...]:
    """Return the read-only views of a host's channels.

    A single file appears in the channel under its own name, as SageMaker shows a single object.
    """
    mounts = []
    for channel in channels_of(context, host):
        view = view_of(context.spec, channel, can_mount=can_mount)
        target = f"{contract.INPUT_DATA}/{channel.channel_name}"
        place = shown_in_place(channel)
        if view is View.IN_PLACE and place is not None:
            mounts.append(Mount(place, target if place.is_dir() else f"{target}/{place.name}"))
        elif view is View.LINK:
            mounts.append(Mount(_place_of(context, host, channel), target))
    return tuple(mounts)


def volume_bytes(spec: TrainingJobSpec) -> int | None:
    """Return how much space the files of a host may take; None = no limit."""
    size = spec.resource_config.volume_size_in_gb
    return None if size is None else size << 30


def files_directory(context: AttemptContext, host: str) -> Path | None:
    """Return where files of channels are put that are no part of the tree; None if none are."""
    spec = context.spec
    modes = {
        spec.input_mode_of(channel)
        for channel in channels_of(context, host)
        if view_of(spec, channel) is View.LINK
    }
    return inputs_directory(context, host) / FILES if "File" in modes else None


def pipe_channels(context: AttemptContext, host: str) -> tuple[Channel, ...]:
    """Return the channels of a host in Pipe mode."""
    return tuple(c for c in channels_of(context, host) if context.spec.input_mode_of(c) == "Pipe")


def pipe_plans(
    context: AttemptContext,
    host: str,
    pipes: str,
    place: Callable[[Channel, Path], str] = lambda _channel, path: str(path),
) -> list[contract.PipePlan]:
    """Return what the supervisor streams.

    Args:
        context: The attempt.
        host: Which of its hosts.
        pipes: The directory PIPES of its inputs as the supervisor sees it.
        place: How the supervisor sees the path of a channel that is read in place.
    """
    plans: list[contract.PipePlan] = []
    for channel in pipe_channels(context, host):
        directory = f"{pipes}/{channel.channel_name}"
        local = pipe_source(channel)
        shuffle = channel.shuffle_config
        deals = shuffle is not None and is_sharded(channel)
        plans.append(
            {
                "channel": channel.channel_name,
                "items": f"{directory}/{ITEMS_FILE}",
                "root": place(channel, local) if local else f"{directory}/{OBJECTS_DIRECTORY}",
                "gzip": channel.compression_type == "Gzip",
                "record_io": channel.record_wrapper_type == "RecordIO",
                "seed": shuffle.seed if shuffle is not None else None,
                "share": list(share_of(context, host, channel)) if deals else None,
            }
        )
    return plans


def pipe_source(channel: Channel) -> Path | None:
    """Return the path of this machine that a channel is streamed from as it is, else None."""
    return local_path(channel.uri) if channel.s3_data_type == "S3Prefix" else None


def place_channels(
    context: AttemptContext, host: str, fetch: InputFetcher, *, can_mount: bool
) -> None:
    """Put the channels of a host in place. Idempotent.

    Raises:
        InputError: An input is missing or hostile, or larger than the host's volume.
    """
    ml = context.host_directory(host) / contract.ML_DIRECTORY
    for channel in channels_of(context, host):
        _check_there(channel)
        mode = context.spec.input_mode_of(channel)
        view = view_of(context.spec, channel, can_mount=can_mount)
        target = ml / contract.INPUT_DATA / channel.channel_name
        if view is not View.PIPE:
            target.mkdir(exist_ok=True)
        if view is View.IN_PLACE:
            continue
        place = target
        if view is not View.COPY:
            place = _place_of(context, host, channel)
            place.mkdir(parents=True, exist_ok=True)
        rank, hosts = share_of(context, host, channel)
        room = volume_bytes(context.spec) if mode == "File" else None
        # SageMaker's FastFile mode takes whole folders only.
        fetch(Fetch(channel, place, view, rank, hosts, room, mode != "FastFile"))
    for mount in channel_mounts(context, host, can_mount=can_mount):
        _place_mount(mount, ml, can_mount)


def _check_there(channel: Channel) -> None:
    source = local_path(channel.uri)
    if source is not None and not source.exists():
        raise InputError(
            f"channel {channel.channel_name!r} must name an existing path, got {channel.uri!r}; "
            "check the path on the machine that runs the job"
        )


def _place_mount(mount: Mount, ml: Path, can_mount: bool) -> None:
    target = ml / mount.target
    if not can_mount:
        show_by_link(mount.source, target)
    elif mount.source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()


def show_by_link(source: Path, target: Path) -> None:
    """Show a path at another one by a symbolic link."""
    if target.is_symlink():
        return
    if target.is_dir():
        target.rmdir()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def discard_inputs(context: AttemptContext) -> None:
    """Remove what was put beside the host directories of an attempt. Idempotent."""
    remove_tree(_attempt_inputs(context))
    with suppress(OSError):  # another attempt's is there, or none ever was
        (context.job_directory / INPUTS_DIRECTORY).rmdir()

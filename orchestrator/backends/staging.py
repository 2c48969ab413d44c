"""The /opt/ml tree of one host, before it starts: config files, source code, channels (``inputs``).

Shared by the back ends that run on this machine. What files say is decided by pure functions;
``prepare_host`` writes them. Everything is idempotent: a half-staged host is staged again.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator_runtime import contract

from orchestrator.backends import debug, inputs
from orchestrator.backends.requirements import INLINE_FILE
from orchestrator.blobs.files import remove_tree
from orchestrator.packaging.archive import extract_archive

if TYPE_CHECKING:
    from orchestrator.backends.base import AttemptContext
    from orchestrator.spec.job import Channel, TrainingJobSpec


@dataclass(frozen=True)
class Kept:
    """A directory that the program writes and that outlives its attempt; all hosts share it.

    Attributes:
        name: ``checkpoints``, ``tensorboard`` or ``tensors``.
        directory: Where it is on this machine.
        target: Where the program sees it.
        uri: Object location that it is kept in step with; None = the directory is all.
    """

    name: str
    directory: Path
    target: str
    uri: str | None


def kept_directories(context: AttemptContext) -> tuple[Kept, ...]:
    """Return the directories of a job that are kept: its checkpoints, and event files if asked."""
    checkpoints, events = context.spec.checkpoint_config, context.spec.tensor_board_output_config
    target = checkpoints.local_path if checkpoints else f"{contract.ML}/{contract.CHECKPOINTS}"
    uri = checkpoints.s3_uri if checkpoints else None
    kept = [_kept(context, contract.CHECKPOINTS, target, uri)]
    if events is not None:
        uri = f"{events.s3_output_path.rstrip('/')}/{context.spec.training_job_name}"
        kept.append(_kept(context, "tensorboard", events.local_path, uri))
    debugger = context.spec.debugger
    if debugger is not None:
        place = debug.output_place(context.spec)
        kept.append(_kept(context, debug.TENSORS, debugger.local_path, place))
    return tuple(kept)


def _kept(context: AttemptContext, name: str, target: str, uri: str | None) -> Kept:
    where = inputs.local_path(uri) if uri else None
    remote = uri if where is None else None
    return Kept(name, where or context.job_directory / name, target, remote)


def volume_plan(
    context: AttemptContext, host: str, files: str | None
) -> contract.VolumePlan | None:
    """Return the quota of a host's files, as a supervisor on this machine sees them.

    Args:
        context: The attempt.
        host: Which of its hosts.
        files: Directory of inputs beside its tree, if there is one.
    """
    size = inputs.volume_bytes(context.spec)
    if size is None:
        return None
    directory = context.host_directory(host)
    written = [directory / contract.ML_DIRECTORY, directory / contract.SCRATCH_DIRECTORY]
    written += [kept.directory for kept in kept_directories(context) if is_own(context, kept)]
    return {"bytes": size, "written": [str(path) for path in written], "inputs": files}


def is_own(context: AttemptContext, kept: Kept) -> bool:
    """Return whether a kept directory is the job's own, not a place of its user's."""
    return kept.directory.is_relative_to(context.job_directory)


def config_files(context: AttemptContext, host: str, network_interface: str) -> dict[str, Any]:
    """Return the content of ``input/config/*.json`` by file name."""
    debugger = context.spec.debugger
    return {
        "hyperparameters.json": dict(context.spec.hyper_parameters),
        "inputdataconfig.json": {
            channel.channel_name: _channel_config(channel, context.spec)
            for channel in inputs.channels_of(context, host)
        },
        "resourceconfig.json": _resource_config(context, host, network_interface),
        **({} if debugger is None else {contract.DEBUG_PLAN_FILE: debug.plan_of(debugger)}),
    }


def _channel_config(channel: Channel, spec: TrainingJobSpec) -> dict[str, str]:
    config: dict[str, str] = {
        "TrainingInputMode": spec.input_mode_of(channel),
        "S3DistributionType": channel.s3_data_distribution_type,
        "RecordWrapperType": channel.record_wrapper_type,
    }
    if channel.content_type:
        config["ContentType"] = channel.content_type
    return config


def _resource_config(context: AttemptContext, host: str, network_interface: str) -> dict[str, Any]:
    mine = next(h for h in context.hosts if h.host == host)
    groups: dict[tuple[str, str], list[str]] = {}
    for member in context.hosts:
        key = (member.instance_group, member.instance_type)
        groups.setdefault(key, []).append(member.host)
    return {
        "current_host": host,
        "current_instance_type": mine.instance_type,
        "current_group_name": mine.instance_group,
        # Lexicographic, so that every reader agrees on the ranks (algo-1, algo-10, algo-2).
        "hosts": sorted(h.host for h in context.hosts),
        "network_interface_name": network_interface,
        "instance_groups": [
            {
                "instance_group_name": name,
                "instance_type": instance_type,
                "hosts": sorted(hosts),
            }
            for (name, instance_type), hosts in groups.items()
        ],
    }


def prepare_host(
    context: AttemptContext,
    host: str,
    *,
    network_interface: str,
    fetch: inputs.InputFetcher,
    can_mount: bool,
) -> Path:
    """Create one host's directory with everything the program reads; return it.

    Args:
        context: The attempt.
        host: Which of its hosts.
        network_interface: What the host calls the interface to its peers.
        fetch: Brings the channels that cannot be shown in place.
        can_mount: Whether the program gets mounts; elsewhere local channels and kept
            directories are shown by symbolic link, and the others are copied.

    Raises:
        InputError: An input is missing or hostile.
    """
    host_directory = context.host_directory(host)
    ml = host_directory / contract.ML_DIRECTORY
    for part in contract.TREE:
        (ml / part).mkdir(parents=True, exist_ok=True)
    (host_directory / contract.SCRATCH_DIRECTORY).mkdir(exist_ok=True)
    (host_directory / contract.ARTIFACTS_DIRECTORY).mkdir(exist_ok=True)
    for kept in kept_directories(context):
        kept.directory.mkdir(parents=True, exist_ok=True)
        if not can_mount and kept.target.startswith(f"{contract.ML}/"):
            inputs.show_by_link(kept.directory, ml / kept.target.removeprefix(f"{contract.ML}/"))
    for name, content in config_files(context, host, network_interface).items():
        write_json(ml / contract.INPUT_CONFIG / name, content)
    _place_source(context, ml)
    if context.spec.source_code is not None and context.spec.source_code.dependencies:
        lines = "".join(f"{line}\n" for line in context.spec.source_code.dependencies)
        (ml / contract.INPUT_CONFIG / INLINE_FILE).write_text(lines, encoding="utf-8")
    inputs.place_channels(context, host, fetch, can_mount=can_mount)
    return host_directory


def _place_source(context: AttemptContext, ml: Path) -> None:
    if context.source_archive is None:
        return
    code = ml / contract.CODE
    if any(code.iterdir()):
        shutil.rmtree(code)
    else:
        code.rmdir()
    extract_archive(context.source_archive, code)


def write_json(
    path: Path, content: Any, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    """Write a JSON file so that a reader sees the old or the new content, never a part.

    Args:
        path: The file.
        content: What it shall hold.
        mode: Its permissions.
        owner: User and group id that it is given to; None = our own.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if owner is not None:
            os.fchown(descriptor, *owner)
        json.dump(content, file)
    temporary.replace(path)


def discard_work(host_directory: Path) -> None:
    """Remove what only the running program needed; logs, records and artifacts stay."""
    for name in (contract.ML_DIRECTORY, contract.SCRATCH_DIRECTORY):
        remove_tree(host_directory / name)
    (host_directory / contract.RECORDS_FIFO).unlink(missing_ok=True)


def read_json(path: Path) -> Any | None:
    """Return a JSON file's content, or None while there is no complete one."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:
        return None

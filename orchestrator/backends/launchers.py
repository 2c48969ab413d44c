"""Who starts a source's script on each host: the interpreter, or a launcher of many processes. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orchestrator_runtime import launch

if TYPE_CHECKING:
    from orchestrator.backends.base import AttemptContext

TENSORFLOW_PORT = 8890
"""Where TensorFlow's workers listen; SageMaker's toolkit uses the same."""
_SPREAD = 1000


def launched(context: AttemptContext, host: str, argv: list[str]) -> list[str]:
    """Return what starts a program on one host.

    Args:
        context: The attempt.
        host: The host.
        argv: The interpreter, the script and its arguments.
    """
    source = context.spec.source_code
    if source is None or source.launcher != "torchrun":
        return argv
    member = next(each for each in context.hosts if each.host == host)
    return launch.torchrun_argv(
        argv,
        hosts=_names(context),
        host=host,
        processes=max(1, len(member.gpus)),
        master_port=_port(context, launch.MASTER_PORT),
    )


def launcher_environment(context: AttemptContext, host: str) -> dict[str, str]:
    """Return the variables that a launcher's programs read beside those of every program."""
    source = context.spec.source_code
    if source is None or source.launcher != "multi_worker_mirrored":
        return {}
    names = _names(context)
    ports = [_port(context, TENSORFLOW_PORT, index) for index in range(len(names))]
    workers = [f"{name}:{port}" for name, port in zip(names, ports, strict=True)]
    task = {"type": "worker", "index": names.index(host)}
    config = {"cluster": {"worker": workers}, "task": task, "environment": "cloud"}
    return {"TF_CONFIG": json.dumps(config)}


def _port(context: AttemptContext, first: int, index: int = 0) -> int:
    """Return a port: hosts without a network of their own share those of this machine."""
    if context.spec.backend != "process":
        return first
    return first + (16 * context.number + index) % _SPREAD


def _names(context: AttemptContext) -> list[str]:
    return sorted(member.host for member in context.hosts)

"""Which program is started, and with which arguments. Pure.

Hyperparameters become arguments as SageMaker's SDK v3 does it: in the order given, always
``--key value`` (also for one-letter keys), every value one argument; strings as they are, all
else as JSON (``true``, ``0.1``, ``[1, 2]``, ``{"a": 1}``). SageMaker's older toolkit sorts keys, writes
``-x`` for one-letter keys and drops ``sagemaker_*``: :func:`user_hyperparameters` drops those.
"""

from __future__ import annotations

import os.path

from orchestrator_runtime import jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

MASTER_PORT = 7777
"""Where the ranks of several hosts meet, on the first of them; SageMaker uses the same."""
PLATFORM_PREFIX = "sagemaker_"
PLATFORM_KEYS = frozenset({"_tuning_objective_metric"})


def decode_hyperparameters(encoded: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of ``hyperparameters.json``, where all are strings.

    Each is read as JSON; what is no JSON is a plain string.
    """
    return {key: _decode(value) for key, value in encoded.items()}


def _decode(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return jsonlite.loads(value)
    except (ValueError, RecursionError):
        return value


def encode_value(value: Any) -> str:
    """Return a hyperparameter as it appears on a command line."""
    return value if isinstance(value, str) else jsonlite.dumps(value)


def user_hyperparameters(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that are meant for the user's program."""
    return {
        key: value
        for key, value in hyperparameters.items()
        if not key.startswith(PLATFORM_PREFIX) and key not in PLATFORM_KEYS
    }


def arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    """Return the hyperparameters as arguments, ``["--epochs", "10", ...]``."""
    argv = []
    for key, value in hyperparameters.items():
        argv += [f"--{key}", encode_value(value)]
    return argv


def entry_argv(entry: str, *, directory: str, interpreter: str) -> list[str]:
    """Return what starts an entry script.

    Args:
        entry: Path in ``directory``: ``.py`` is run by the interpreter, ``.sh`` by bash, a name
            without a slash or known ending (``package.module``) as a module; all else is
            executed itself.
        directory: The code directory as the program sees it.
        interpreter: Path of the Python interpreter.
    """
    path = os.path.join(directory, entry)
    if entry.endswith(".py"):
        return [interpreter, path]
    if entry.endswith(".sh"):
        return ["/bin/bash", path]
    if "/" not in entry and all(part.isidentifier() for part in entry.split(".")):
        return [interpreter, "-m", entry]
    return [path]


def program_argv(
    entry: str,
    hyperparameters: Mapping[str, str],
    *,
    directory: str,
    interpreter: str,
    extra: tuple[str, ...] = (),
) -> list[str]:
    """Return the whole command of a script-mode job.

    Args:
        entry: See :func:`entry_argv`.
        hyperparameters: As in ``hyperparameters.json``: all values are strings.
        directory: The code directory as the program sees it.
        interpreter: Path of the Python interpreter.
        extra: Arguments after the hyperparameters.
    """
    values = user_hyperparameters(decode_hyperparameters(hyperparameters))
    start = entry_argv(entry, directory=directory, interpreter=interpreter)
    return [*start, *arguments(values), *extra]


def torchrun_argv(
    argv: Sequence[str],
    *,
    hosts: Sequence[str],
    host: str,
    processes: int,
    master_port: int = MASTER_PORT,
) -> list[str]:
    """Return what starts a Python script on one host as torchrun's ranks.

    Args:
        argv: The interpreter, the script and its arguments.
        hosts: All hosts of the job, sorted.
        host: The one that this is for.
        processes: Ranks per host.
        master_port: Where ranks of several hosts meet.
    """
    options = ["--nnodes", str(len(hosts)), "--nproc_per_node", str(processes)]
    if len(hosts) == 1:
        options += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    else:
        options += ["--node_rank", str(hosts.index(host))]
        options += ["--master_addr", hosts[0], "--master_port", str(master_port)]
    return [argv[0], "-m", "torch.distributed.run", *options, *argv[1:]]


def entry_of(hyperparameters: Mapping[str, str], environment: Mapping[str, str]) -> str | None:
    """Return the entry script that a job without an entry point of its own names, if any."""
    for value in (
        environment.get("SAGEMAKER_PROGRAM"),
        _decode(hyperparameters.get("sagemaker_program")),
    ):
        if isinstance(value, str) and value:
            return value
    return None

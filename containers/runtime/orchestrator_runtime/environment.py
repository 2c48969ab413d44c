"""The environment that the program of one host gets: who wins over whom, in one place."""

from __future__ import annotations

import os

from orchestrator_runtime import contract, env, files, launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from orchestrator_runtime.contract import HostPlan


def read_config(ml: str) -> env.JobConfig:
    """Read the files of ``input/config``; a missing one counts as empty.

    Raises:
        ValueError: One of them is no JSON object.
    """
    directory = os.path.join(ml, contract.INPUT_CONFIG)

    def read(name: str) -> dict[str, Any]:
        try:
            return files.read_object(os.path.join(directory, name))
        except FileNotFoundError:
            return {}

    return env.JobConfig(
        read("hyperparameters.json"), read("inputdataconfig.json"), read("resourceconfig.json")
    )


def take_secrets(plan: HostPlan) -> dict[str, str]:
    """Return the secrets and remove their file.

    Raises:
        OSError: The file is missing or cannot be removed.
    """
    path = plan["secrets"]
    if path is None:
        return {}
    values = {name: str(value) for name, value in files.read_object(path).items()}
    os.unlink(path)
    return values


def program_environment(
    plan: HostPlan,
    directory: str,
    config: env.JobConfig,
    secrets: Mapping[str, str],
    scratch: str | None,
) -> dict[str, str]:
    """Return the program's whole environment.

    From weak to strong: the image's own (in a container), defaults, the SM_* family, the plan's
    (the user's wishes), secrets; then what the runtime itself needs.
    """
    wished = plan["environment"]
    kind = plan["sandbox"]["kind"]
    entry = launch.entry_of(config.encoded, wished)
    cpus = plan["limits"]["cpus"]
    values = dict(os.environ) if kind == "container" else {}
    values["PYTHONUNBUFFERED"] = "1"
    # torchrun restarts hang or fail when ranks share the rendezvous store.
    values["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    if cpus is not None:
        values["OMP_NUM_THREADS"] = str(max(int(cpus), 1))
    if scratch is not None:
        values["TMPDIR"] = scratch
    values.update(
        env.sagemaker_environment(
            config,
            base=plan["base"],
            job_name=plan["job_name"],
            cpus=max(int(cpus), 1) if cpus is not None else os.cpu_count() or 1,
            gpus=count_gpus(wished),
            entry=entry,
        )
    )
    fenced = kind in ("bubblewrap", "namespaces")
    fifo = contract.RECORDS if fenced else os.path.join(directory, contract.RECORDS_FIFO)
    values[contract.RECORDS_VARIABLE] = fifo
    values.update(wished)
    values.update(secrets)
    values[contract.ATTEMPT_VARIABLE] = str(plan["attempt"])
    runtime = contract.RUNTIME if fenced else os.path.dirname(os.path.dirname(__file__))
    values["PYTHONPATH"] = with_runtime(values.get("PYTHONPATH"), runtime)
    debug = plan.get("debug")
    if debug is not None:
        values[contract.DEBUG_VARIABLE] = debug
        values["PYTHONPATH"] = f"{runtime}/{contract.DEBUG_SITE}{os.pathsep}{values['PYTHONPATH']}"
    return values


def with_runtime(path: str | None, runtime: str) -> str:
    """Return a PYTHONPATH with the runtime at its end."""
    parts = [part for part in (path or "").split(os.pathsep) if part]
    return os.pathsep.join(parts if runtime in parts else [*parts, runtime])


def count_gpus(environment: Mapping[str, str]) -> int:
    """Return how many GPUs the program may see."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part.strip() not in ("", "-1")])
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0

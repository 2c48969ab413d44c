"""The variables that programs written for SageMaker read. Pure.

Both families are served: SageMaker's training toolkit and the drivers of its SDK v3. Where they
differ in the spelling of a name (``SM_HP_LEARNING-RATE``, ``SM_HP_LEARNING_RATE``), both are set.
"""

from __future__ import annotations

from orchestrator_runtime import contract, jsonlite, launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_GROUP = "homogeneousCluster"
MASTER_PORT = 7777
LONGEST_VARIABLE = 128 * 1024 - 1
"""Linux refuses to execute a program with a longer ``NAME=value``."""


class JobConfig:
    """The files of /opt/ml/input/config, read."""

    def __init__(
        self,
        hyperparameters: Mapping[str, str],
        input_data: Mapping[str, Any],
        resources: Mapping[str, Any],
    ) -> None:
        self.encoded = hyperparameters
        self.hyperparameters = launch.decode_hyperparameters(hyperparameters)
        self.own_hyperparameters = launch.user_hyperparameters(self.hyperparameters)
        self.platform_hyperparameters = {
            key: value
            for key, value in self.hyperparameters.items()
            if key not in self.own_hyperparameters
        }
        self.input_data = input_data
        self.channels = sorted(input_data)
        self.resources = resources
        self.host: str = resources.get("current_host", "algo-1")
        self.hosts: list[str] = list(resources.get("hosts") or [self.host])
        self.instance_type: str = resources.get("current_instance_type", "local")
        self.group: str = resources.get("current_group_name", DEFAULT_GROUP)
        self.groups: list[dict[str, Any]] = resources.get("instance_groups") or [
            {
                "instance_group_name": self.group,
                "instance_type": self.instance_type,
                "hosts": self.hosts,
            }
        ]
        self.interface: str = resources.get("network_interface_name", "eth0")

    @property
    def group_hosts(self) -> list[str]:
        """The hosts of this host's own group."""
        for group in self.groups:
            if group.get("instance_group_name") == self.group:
                return list(group.get("hosts", ()))
        return self.hosts

    @property
    def rank(self) -> int:
        """This host's place among all hosts in SageMaker's order, which is alphabetical."""
        ordered = sorted(self.hosts)
        return ordered.index(self.host) if self.host in ordered else 0


def sagemaker_environment(
    config: JobConfig,
    *,
    base: str,
    job_name: str,
    cpus: int,
    gpus: int,
    entry: str | None = None,
    code: str | None = None,
) -> dict[str, str]:
    """Return all SM_* and TRAINING_JOB_* variables of one host.

    Args:
        config: The host's config files.
        base: The /opt/ml tree as the program sees it.
        job_name: The training job's name.
        cpus: CPUs that the host may use.
        gpus: GPUs that the host may use.
        entry: Entry script, if the job names one.
        code: Directory of the code; ``base/code`` if not given.
    """
    values: dict[str, Any] = {
        **_paths(base),
        **_machine(config, cpus, gpus),
        **_program(config, base, entry, code or f"{base}/{contract.CODE}"),
        "SM_HPS": config.own_hyperparameters,
        "SM_INPUT_DATA_CONFIG": config.input_data,
        "SM_RESOURCE_CONFIG": config.resources,
        "SM_CHANNELS": config.channels,
    }
    values["SM_TRAINING_ENV"] = _training_env(values, config, base, job_name)
    for channel in config.channels:
        values.update(_both("SM_CHANNEL_", channel, f"{base}/{contract.INPUT_DATA}/{channel}"))
    for key, value in config.own_hyperparameters.items():
        values.update(_both("SM_HP_", key, value))
    values["TRAINING_JOB_NAME"] = job_name
    texts = {name: _text(value) for name, value in values.items()}
    return {name: text for name, text in texts.items() if _fits(name, text)}


def _paths(base: str) -> dict[str, str]:
    return {
        "SM_MODEL_DIR": f"{base}/{contract.MODEL}",
        "SM_INPUT_DIR": f"{base}/{contract.INPUT}",
        "SM_INPUT_CONFIG_DIR": f"{base}/{contract.INPUT_CONFIG}",
        "SM_INPUT_DATA_DIR": f"{base}/{contract.INPUT_DATA}",
        "SM_OUTPUT_DIR": f"{base}/{contract.OUTPUT}",
        "SM_OUTPUT_DATA_DIR": f"{base}/{contract.OUTPUT_DATA}",
        "SM_OUTPUT_INTERMEDIATE_DIR": f"{base}/{contract.OUTPUT}/intermediate",
        "SM_OUTPUT_FAILURE": f"{base}/{contract.FAILURE_FILE}",
    }


def _machine(config: JobConfig, cpus: int, gpus: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "SM_CURRENT_HOST": config.host,
        "SM_HOSTS": config.hosts,
        "SM_HOST_COUNT": len(config.hosts),
        "SM_CURRENT_HOST_RANK": config.rank,
        "SM_MASTER_ADDR": sorted(config.hosts)[0],
        "SM_MASTER_PORT": MASTER_PORT,
        "SM_CURRENT_INSTANCE_TYPE": config.instance_type,
        "SM_CURRENT_INSTANCE_GROUP": config.group,
        "SM_CURRENT_INSTANCE_GROUP_HOSTS": config.group_hosts,
        "SM_INSTANCE_GROUPS": [group.get("instance_group_name") for group in config.groups],
        "SM_INSTANCE_GROUPS_DICT": {
            str(group.get("instance_group_name")): group for group in config.groups
        },
        "SM_DISTRIBUTION_INSTANCE_GROUPS": [],
        "SM_IS_HETERO": len(config.groups) > 1,
        "SM_NETWORK_INTERFACE_NAME": config.interface,
        "SM_NUM_CPUS": cpus,
        "SM_NUM_GPUS": gpus,
        "SM_NUM_NEURONS": 0,
        "SM_LOG_LEVEL": 20,
    }
    if "topology" in config.resources:
        values["SM_TOPOLOGY"] = config.resources["topology"]
    return values


def _program(config: JobConfig, base: str, entry: str | None, code: str) -> dict[str, Any]:
    values = {
        "SM_USER_ARGS": launch.arguments(config.own_hyperparameters),
        "SM_USER_ENTRY_POINT": entry or "",
        "SM_ENTRY_SCRIPT": entry or "",
        "SM_MODULE_DIR": config.hyperparameters.get("sagemaker_submit_directory", code),
        "SM_MODULE_NAME": (entry or "").rpartition("/")[2].partition(".")[0],
        "SM_SOURCE_DIR": code,
        "SM_FRAMEWORK_MODULE": "",
        "SM_FRAMEWORK_PARAMS": config.platform_hyperparameters,
    }
    if "sm_drivers" in config.channels:
        drivers = f"{base}/{contract.INPUT_DATA}/sm_drivers"
        values["SM_DISTRIBUTED_DRIVER_DIR"] = f"{drivers}/distributed_drivers"
        values["SM_DISTRIBUTED_CONFIG"] = f"{drivers}/distributed.json"
    return values


def _training_env(
    values: Mapping[str, Any], config: JobConfig, base: str, job_name: str
) -> dict[str, Any]:
    """Return the one variable that holds all the others, with the toolkit's keys."""
    channels = {name: f"{base}/{contract.INPUT_DATA}/{name}" for name in config.channels}
    return {
        "additional_framework_parameters": config.platform_hyperparameters,
        "channel_input_dirs": channels,
        "current_host": config.host,
        "current_instance_group": config.group,
        "current_instance_group_hosts": config.group_hosts,
        "current_instance_type": config.instance_type,
        "distribution_hosts": config.hosts,
        "distribution_instance_groups": [],
        "framework_module": None,
        "hosts": config.hosts,
        "hyperparameters": config.own_hyperparameters,
        "input_config_dir": values["SM_INPUT_CONFIG_DIR"],
        "input_data_config": config.input_data,
        "input_dir": values["SM_INPUT_DIR"],
        "instance_groups": values["SM_INSTANCE_GROUPS"],
        "instance_groups_dict": values["SM_INSTANCE_GROUPS_DICT"],
        "is_hetero": values["SM_IS_HETERO"],
        "is_master": config.rank == 0,
        "is_modelparallel_enabled": None,
        "job_name": job_name,
        "log_level": 20,
        "master_hostname": values["SM_MASTER_ADDR"],
        "model_dir": values["SM_MODEL_DIR"],
        "module_dir": values["SM_MODULE_DIR"],
        "module_name": values["SM_MODULE_NAME"],
        "network_interface_name": config.interface,
        "num_cpus": values["SM_NUM_CPUS"],
        "num_gpus": values["SM_NUM_GPUS"],
        "num_neurons": 0,
        "output_data_dir": values["SM_OUTPUT_DATA_DIR"],
        "output_dir": values["SM_OUTPUT_DIR"],
        "output_intermediate_dir": values["SM_OUTPUT_INTERMEDIATE_DIR"],
        "resource_config": config.resources,
        "user_entry_point": values["SM_USER_ENTRY_POINT"],
    }


def _both(prefix: str, key: str, value: Any) -> dict[str, Any]:
    """Return a variable under the toolkit's name and under the SDK's."""
    raw = key.upper()
    safe = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in raw)
    return {f"{prefix}{safe}": value, f"{prefix}{raw}": value}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else jsonlite.dumps(value)


def _fits(name: str, text: str) -> bool:
    """Return whether the system can pass a variable on. The config files hold what it cannot."""
    if not name.isprintable() or "=" in name or "\0" in text or "\0" in name:
        return False
    return len(name.encode()) + len(text.encode("utf-8", "replace")) + 1 <= LONGEST_VARIABLE

"""The simple model of the API: what a job must look like, and ways to spoil a specification."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from orchestrator.spec.job import TrainingJobSpec

NAMES = ("a", "A", "job-1", "Job-1", "b-c")
KEYS = ("k1", "k2", "k3")
RAM = Path("/dev/shm")
CALM_ROUNDS = 150
TERMINAL = {"Completed", "Failed", "Stopped"}
FOLLOWS = {
    "InProgress": {"InProgress", "Stopping", *TERMINAL},
    "Stopping": {"Stopping", *TERMINAL},
}

# Ways to spoil a specification: (path, value, code of the answer). The first ones break its form.
FORM = [
    (("training_job_name",), "-no-name", "invalid_spec"),
    (("training_job_name",), "x" * 64, "invalid_spec"),
    (("unknown_field",), 1, "invalid_spec"),
    (("algorithm_specification",), {}, "invalid_spec"),
    (("resource_config", "instance_count"), 0, "invalid_spec"),
    (("environment",), {"SM_OWN": "1"}, "invalid_spec"),
    (("backend",), "docker", "invalid_spec"),
    (("hyper_parameters", "long"), "x" * 2501, "invalid_spec"),
]
SUBSTANCE = [
    (("resources", "cpus"), 99, "capacity"),
    (("resources", "gpus"), 3, "capacity"),
    (("resources", "memory_gib"), 8.5, "capacity"),
    (("resource_config", "instance_type"), "ml.gone.large", "invalid_spec"),
    (("backend",), "podman", "invalid_spec"),
    (("secrets",), ["TOKEN"], "invalid_spec"),
    (("source_code",), {"digest": "0" * 64, "entry_script": "train.py"}, "invalid_spec"),
    (
        ("input_data_config",),
        [{"channel_name": "train", "uri": "/no/such/path"}],
        "input_error",
    ),
]

names = st.sampled_from(NAMES)
tags = st.builds(
    lambda key, value: {"key": key, "value": value},
    st.sampled_from("xyz"),
    st.sampled_from(["", "1"]),
)


@dataclass
class Job:
    """What the model knows of one job.

    Attributes:
        seen: Its record as it was last described.
        stopped: Somebody asked it to stop; the attempt it was at then.
        fates: What was done to its hosts: exit codes, and "lost".
        end: Its record when it was first seen ended.
    """

    name: str
    spec: TrainingJobSpec
    number: int
    seen: dict[str, Any]
    tags: dict[str, str]
    stopped: int | None = None
    fates: set[int | str] = field(default_factory=set)
    end: dict[str, Any] | None = None

    @property
    def program(self) -> str:
        return self.spec.hyper_parameters["program"]

    def may_end_as(self) -> set[str]:
        """Every end reason that can be explained."""
        reasons = {"ends": {"completed"}, "fails": {"exit_code"}}.get(self.program, set())
        reasons = set(reasons)
        reasons |= {"completed" if code == 0 else "exit_code" for code in self.fates - {"lost"}}
        if "lost" in self.fates:
            reasons.add("lost")
        if self.stopped is not None:
            reasons.add("user_stop")
            if self.stopped == 0:
                return {"user_stop"}
        return reasons


def is_roomy(folder: Path) -> bool:
    return folder.is_dir() and shutil.disk_usage(folder).free > 256 << 20


def as_dict(labels: list[dict[str, str]]) -> dict[str, str]:
    assert len({tag["key"] for tag in labels}) == len(labels)
    return {tag["key"]: tag["value"] for tag in labels}


def point_in_time(text: str | None) -> Any:
    from datetime import datetime

    return None if text is None else datetime.fromisoformat(text)

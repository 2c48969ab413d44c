"""What is checked before a job is accepted: everything that can be, so that nothing starts in vain."""

from __future__ import annotations

import bisect
import difflib
import os
import shutil
from functools import lru_cache
from typing import TYPE_CHECKING

from orchestrator.catalogue import lookup
from orchestrator.errors import (
    CapacityUnavailable,
    InvalidSpec,
    LimitExceeded,
    StoreError,
)
from orchestrator.metrics.extract import compile_definitions
from orchestrator.scheduler.capacity import Demand, Machine, impossible
from orchestrator.scheduler.secret_files import SECRETS_DIRECTORY
from orchestrator.service.channels import check_channels

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from orchestrator.backends.base import Backend
    from orchestrator.spec.base import Spec
    from orchestrator.spec.job import MetricDefinition, TrainingJobSpec

MINIMUM_FREE_BYTES = 64 << 20
LOCAL = frozenset({"process", "docker"})
NOT_ENFORCED: tuple[tuple[str, frozenset[str]], ...] = (
    ("role_arn", LOCAL),
    ("output_data_config.kms_key_id", LOCAL),
    ("resource_config.keep_alive_period_in_seconds", LOCAL),
    ("resources.shm_size_mib", frozenset({"process"})),
)
"""Members that are accepted, kept and shown, and on which back ends they have no effect."""
HOME_DIRECTORIES = ("jobs", "blobs", "runtime", "envs", "unreleased", SECRETS_DIRECTORY)


class Admission:
    """The checks before acceptance.

    Args:
        home: The home directory.
        backends: By name.
        machine: What there is to give out.
        strict_resources: Refuse GPU instance types that this machine cannot serve.
    """

    def __init__(
        self,
        home: Path,
        backends: Mapping[str, Backend],
        machine: Machine,
        *,
        strict_resources: bool = False,
    ) -> None:
        self._home = home
        self._backends = backends
        self._machine = machine
        self._strict = strict_resources

    def check(
        self, spec: TrainingJobSpec, secrets: Mapping[str, str], source_archive: Path | None
    ) -> tuple[str, ...]:
        """Return warnings for the job's notes.

        Raises:
            InvalidSpec: A rule is broken.
            InputError: A channel's path does not exist.
            CapacityUnavailable: This machine can never run it.
            LimitExceeded: The disk is full.
        """
        backend = self._backend(spec)
        _check_secrets(spec, secrets)
        self._check_home()
        self._check_disk()
        if source_archive is not None and not source_archive.exists():
            raise InvalidSpec(
                "source_code.digest must name a source archive that was uploaded, got "
                f"{source_archive.name!r}; upload it first (the SDK and CLI do)"
            )
        check_channels(spec)
        _check_definitions(spec.algorithm_specification.metric_definitions)
        warnings = self._check_instances(spec)
        self._check_capacity(spec)
        return (*warnings, *not_enforced(spec), *backend.check(spec))

    def gpus_per_host(self, spec: TrainingJobSpec) -> int:
        """Return the GPUs of one host: as asked for, else the type's, at most those present."""
        if spec.resources.gpus is not None:
            return spec.resources.gpus
        wanted = max(lookup.gpus(instance_type) for _, _, instance_type in spec.hosts)
        return min(wanted, len(self._machine.gpus))

    def hosts_possible(self, spec: TrainingJobSpec) -> int:
        """Return how many hosts of a job this machine could run, up to those that it asks for."""
        try:
            self._check_instances(spec)
        except CapacityUnavailable:
            return 0
        counts = range(1, len(spec.hosts) + 1)
        return bisect.bisect(counts, 0, key=lambda count: self._is_too_many(spec, count))

    def _is_too_many(self, spec: TrainingJobSpec, hosts: int) -> bool:
        return impossible(self._demand(spec, hosts), self._machine) is not None

    def _backend(self, spec: TrainingJobSpec) -> Backend:
        try:
            return self._backends[spec.backend]
        except KeyError:
            raise InvalidSpec(
                f"backend must be one of {sorted(self._backends)}, got {spec.backend!r}; "
                "choose one of these"
            ) from None

    def _check_home(self) -> None:
        for name in HOME_DIRECTORIES:
            path = self._home / name
            # in this order: of one that is made between the two looks the second is true
            if os.path.lexists(path) and not path.is_dir():
                raise StoreError(
                    f"{path} must be a directory, it is something else; move it away, and this "
                    "program makes it again"
                )

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self._home).free
        if free < MINIMUM_FREE_BYTES:
            raise LimitExceeded(
                f"the disk of {self._home} must have {MINIMUM_FREE_BYTES >> 20} MiB free, has "
                f"{free >> 20} MiB; free some space (orchestrator gc) or use another home"
            )

    def _check_instances(self, spec: TrainingJobSpec) -> tuple[str, ...]:
        warnings = []
        for instance_type in {kind for _, _, kind in spec.hosts}:
            if not lookup.is_known(instance_type):
                near = difflib.get_close_matches(instance_type, lookup.names(), 1)
                advice = f"did you mean {near[0]!r}?" if near else "'local' is this machine"
                raise InvalidSpec(
                    "instance_type must be a SageMaker training instance type or 'local', got "
                    f"{instance_type!r}; {advice}"
                )
            wanted = lookup.gpus(instance_type)
            if wanted > len(self._machine.gpus):
                text = (
                    f"{instance_type} has {wanted} GPU(s), this machine has "
                    f"{len(self._machine.gpus)}"
                )
                if self._strict:
                    raise CapacityUnavailable(
                        f"{text}, and strict_resources is set; unset it to run with what is there"
                    )
                warnings.append(f"{text}; the job runs with what is there")
        return tuple(warnings)

    def _check_capacity(self, spec: TrainingJobSpec) -> None:
        why = impossible(self._demand(spec, len(spec.hosts)), self._machine)
        if why is not None:
            raise CapacityUnavailable(why)

    def _demand(self, spec: TrainingJobSpec, hosts: int) -> Demand:
        return Demand(
            number=0,
            name=spec.training_job_name,
            hosts=hosts,
            resources=spec.resources,
            gpus_per_host=self.gpus_per_host(spec),
        )


def not_enforced(spec: TrainingJobSpec) -> tuple[str, ...]:
    """Return the warning that names what a job asks for and its back end does not do, if any."""
    given = [
        path for path, where in NOT_ENFORCED if spec.backend in where and _differs(spec, path)
    ]
    if not given:
        return ()
    return (f"kept, but not enforced on the {spec.backend} back end: {', '.join(given)}",)


def _differs(model: Spec, path: str) -> bool:
    """Return whether a member has another value than it has by itself."""
    name, _, rest = path.partition(".")
    value = getattr(model, name)
    if not rest:
        return bool(value != type(model).model_fields[name].get_default())
    return any(_differs(part, rest) for part in (value if isinstance(value, tuple) else (value,)))


@lru_cache(maxsize=256)
def _check_definitions(definitions: tuple[MetricDefinition, ...]) -> None:
    """Check metric definitions; the same ones come with every job of a project."""
    compile_definitions(definitions)


def _check_secrets(spec: TrainingJobSpec, secrets: Mapping[str, str]) -> None:
    missing = [name for name in spec.secrets if name not in secrets]
    if missing:
        raise InvalidSpec(
            f"every secret needs a value, got none for {missing[0]!r}; set the variable of that "
            "name where you submit"
        )
    check_named(spec.secrets, secrets)


def check_named(names: Collection[str], secrets: Iterable[str]) -> None:
    """Refuse values of secrets that nobody asks for.

    Args:
        names: Those that are asked for.
        secrets: Those that have values.

    Raises:
        InvalidSpec: There is one.
    """
    unnamed = sorted(set(secrets) - set(names))
    if unnamed:
        raise InvalidSpec(
            f"secret values must be named in `secrets`, got {unnamed[0]!r} too; name it there, or "
            "leave its value out"
        )

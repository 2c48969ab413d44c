"""The Docker back end with a home of its own, and a way to reach round it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orchestrator_runtime

from orchestrator.backends.base import AttemptContext, Backend
from orchestrator.backends.docker import DockerBackend, DockerSettings
from orchestrator.backends.inputs import Fetch
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.service.inputs import Inputs
from orchestrator.service.runtime import install_runtime
from orchestrator.testing.backend_contract import (
    BackendHarness,
    Wish,
    attempt_context,
    write_source,
)

DIGEST = "0" * 64


def docker(*words: str, check: bool = True) -> str:
    """Output of the docker command."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


def copy_channel(wanted: Fetch) -> None:
    """Bring a channel as the service does; only local ones occur here."""
    Inputs(LocalBlobStore(Path("/nonexistent"))).fetch(wanted)


class DockerHarness(BackendHarness):
    """One home on the real engine.

    Args:
        home: Its directory.
        image: The image that jobs run in.
        **settings: Of the back end.
    """

    def __init__(self, home: Path, image: str, **settings: Any) -> None:
        self.home = home
        self.image = image
        self.wakes = 0
        self._jobs = 0
        self._backends: list[DockerBackend] = []
        runtime = install_runtime(Path(orchestrator_runtime.__file__).parent, home)
        self.settings = DockerSettings(
            home=home, runtime=runtime, python=sys.executable, **settings
        )
        self.docker_backend = self._new()
        self.backend: Backend = self.docker_backend

    def _new(self) -> DockerBackend:
        backend = DockerBackend(self.settings, copy_channel, self._wake)
        self._backends.append(backend)
        return backend

    def _wake(self) -> None:
        self.wakes += 1

    def restarted(self) -> Backend:
        self.docker_backend = self._new()
        return self.docker_backend

    def context(self, wish: Wish) -> AttemptContext:
        return self.script(wish.program.source, wish)

    def script(
        self, source: str, wish: Wish, files: Mapping[str, str] | None = None
    ) -> AttemptContext:
        """Return the context of a job that runs a Python script."""
        spec = {
            "backend": "docker",
            "algorithm_specification": {"training_image": self.image},
            "source_code": {"digest": DIGEST, "entry_script": "train.py"},
        }
        context = self.plain(wish, spec)
        archive = write_source(
            context.job_directory / "source.tar.gz", {"train.py": source, **(files or {})}
        )
        return AttemptContext(**{**vars(context), "source_archive": archive})

    def command(self, argv: list[str], wish: Wish, image: str | None = None) -> AttemptContext:
        """Return the context of a job that runs a program of its image."""
        algorithm = {"training_image": image or self.image, "container_entrypoint": argv}
        return self.plain(wish, {"backend": "docker", "algorithm_specification": algorithm})

    def plain(self, wish: Wish, spec: Mapping[str, Any]) -> AttemptContext:
        """Return the context of a job with this specification."""
        self._jobs += 1
        directory = self.home / "jobs" / f"job-{self._jobs}"
        directory.mkdir(parents=True)
        return attempt_context(directory, wish, spec, number=self._jobs)

    def container(self, context: AttemptContext, host: str = "algo-1") -> str:
        """Return the name of a host's container."""
        name = context.spec.training_job_name
        return f"orchestrator-{self.settings.home_id}-{name}-a{context.attempt}-{host}"

    def kill(self, context: AttemptContext, host: str) -> None:
        docker("kill", self.container(context, host))

    def leftovers(self, context: AttemptContext) -> list[str]:
        job = f"label=orchestrator.job={context.spec.training_job_name}"
        home = f"label=orchestrator.home={self.home}"
        found = docker("ps", "-aq", "--filter", job, "--filter", home).split()
        return found + docker("network", "ls", "-q", "--filter", job, "--filter", home).split()

    def close(self) -> None:
        """Close every back end and remove what is left, which must be nothing but the network."""
        for backend in self._backends:
            backend.close()
        left = self.docker_backend.find_leftovers()
        self.docker_backend.remove_leftovers()
        self.docker_backend.close()
        assert left == []


@contextmanager
def docker_harness(home: Path, image: str, **settings: Any) -> Iterator[DockerHarness]:
    """A harness that leaves nothing on the engine."""
    harness = DockerHarness(home, image, **settings)
    try:
        yield harness
    finally:
        harness.close()

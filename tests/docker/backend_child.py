"""A driver of its own process that carries out steps and may be killed at a failpoint.

python -m tests.docker.backend_child REQUEST.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from orchestrator import ids
from orchestrator.backends.base import AttemptContext
from orchestrator.backends.docker import DockerBackend, DockerSettings
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import HostRecord
from orchestrator.testing.backend_contract import stop_request
from tests.docker.backend_harness import copy_channel


def context_of(request: dict[str, Any]) -> AttemptContext:
    """The attempt that the parent describes."""
    spec = TrainingJobSpec.parse(request["spec"])
    source = request["source_archive"]
    return AttemptContext(
        spec=spec,
        arn=ids.training_job_arn(spec.training_job_name),
        number=request["number"],
        identity=request["identity"],
        attempt=1,
        hosts=tuple(HostRecord.model_validate(host) for host in request["hosts"]),
        job_directory=Path(request["job_directory"]),
        source_archive=Path(source) if source else None,
    )


def main(request: dict[str, Any]) -> None:
    """Carry out the steps."""
    settings = DockerSettings(
        home=Path(request["home"]), runtime=Path(request["runtime"]), python=sys.executable
    )
    backend = DockerBackend(settings, copy_channel)
    context = context_of(request)
    for step in request["steps"]:
        if step == "stage":
            backend.stage(context)
        elif step == "start":
            for host in context.hosts:
                backend.start(context, host.host)
        elif step == "stop":
            for host in context.hosts:
                backend.stop(context, host.host, None, stop_request())
        else:
            backend.release(context)
    backend.close()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

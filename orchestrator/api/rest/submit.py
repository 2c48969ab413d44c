"""Accepting jobs: the one route that must be fast, so nothing but the body and a header is read."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.context import Context
from orchestrator.api.errors import violations
from orchestrator.api.rest.common import EXAMPLE_JOB
from orchestrator.api.views import SubmitRequest, job_response
from orchestrator.errors import InvalidSpec
from orchestrator.service.jobs import Submission
from orchestrator.spec.base import Spec
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord

R = TypeVar("R", bound=Spec)
IDEMPOTENCY_KEY = "idempotency-key"
EXAMPLE: dict[str, Any] = {
    "spec": {
        "training_job_name": EXAMPLE_JOB,
        "algorithm_specification": {
            "container_entrypoint": ["python3", "-c", "print('loss=0.25')"],
            "metric_definitions": [{"name": "train:loss", "regex": "loss=([0-9.]+)"}],
        },
        "hyper_parameters": {"epochs": "3"},
        "stopping_condition": {"max_runtime_in_seconds": 600},
    }
}
IDEMPOTENCY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Any text of your own, such as a UUID: a repeated request with the "
    "same key and specification returns the job of the first.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
DOCUMENT: dict[str, Any] = {
    "parameters": [IDEMPOTENCY],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/SubmitRequest"},
                "example": EXAMPLE,
            }
        },
    },
}
_INSTANCES = re.compile(rb'"instance_count"\s*:\s*"?\+?(\d[\d.eE+]*)')


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0  # no number: the model says so


class Submit:
    """The route.

    Args:
        context: The use cases.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._submit = context.service.jobs.submit

    async def __call__(self, request: Request) -> Response:
        """Accept a job; see ``DOCUMENT``."""
        key = request.headers.get(IDEMPOTENCY_KEY)
        asked = self.parse(await request.body())
        record = await self._accept(Submission(asked.spec, asked.secrets, key))
        return job_response(record, 201, {"location": f"/api/v1/training-jobs/{record.name}"})

    async def _accept(self, submission: Submission) -> TrainingJobRecord:
        if submission.spec.algorithm_specification.training_image is None:
            return await self._context.submissions.add(submission)
        # An engine is asked about the image, which may take long: nobody else waits for it.
        return await self._context.writes.run(
            self._submit,
            submission.spec,
            secrets=submission.secrets,
            idempotency_key=submission.idempotency_key,
        )

    def parse(self, body: bytes) -> SubmitRequest:
        """Return the request in a body.

        Raises:
            InvalidSpec: A rule is broken.
        """
        asked = self.read(SubmitRequest, body)
        self.check_backend(asked.spec)
        return asked

    def read(self, model: type[R], body: bytes) -> R:
        """Return a request with specifications of jobs.

        Raises:
            InvalidSpec: A rule is broken.
        """
        most = self._context.limits.instances
        for count in _INSTANCES.findall(body):
            if _number(count) > most:
                raise InvalidSpec(
                    f"instance_count must be at most {most:,}, got {count[:20].decode()}; split "
                    "the job"
                )
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise violations(error.errors(include_url=False)) from error

    def check_backend(self, spec: TrainingJobSpec) -> None:
        """Refuse a back end that clients of this port may not use.

        Raises:
            InvalidSpec: It is one.
        """
        if spec.backend in self._context.refused_backends:
            raise InvalidSpec(
                f"backend {spec.backend!r} runs programs of this machine without a container, "
                "which a service that listens to other machines refuses; use backend='docker', "
                "or start the service with --allow-insecure-local"
            )

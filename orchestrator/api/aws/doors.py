"""AWS's door: how the endpoint becomes a way into the one application."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from orchestrator.api.aws.operations import Operations
from orchestrator.api.context import Context

if TYPE_CHECKING:
    from orchestrator.api.aws.endpoint import Endpoint, S3Gateway

_FACTORY = "orchestrator.api.aws.factory"


@dataclass(frozen=True)
class AwsOptions:
    """How signed requests are answered.

    Attributes:
        url: Where jobs reach the service; None = they do not.
        is_relayed: Jobs in containers reach a loopback address, too.
        verify_signatures: False believes every claim; for a loopback address only.
        services: Further services by botocore's name, or others in the place of those of every
            installation.
        s3: What answers S3; None = that of the installation.
    """

    url: str | None = None
    is_relayed: bool = False
    verify_signatures: bool = True
    services: Mapping[str, Operations] = field(default_factory=dict)
    s3: S3Gateway | None = None


SERVED_AS_USUAL = AwsOptions()


class AwsDoor:
    """The ASGI application for signed requests; botocore is loaded by the first of them.

    Args:
        context: The use cases.
        token: The bearer token; its access key signs.
        options: How.
    """

    def __init__(self, context: Context, token: str, options: AwsOptions) -> None:
        self._context = context
        self._token = token
        self._options = options
        self._loading = threading.Lock()
        self._endpoint: Endpoint | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        endpoint = self._endpoint
        if endpoint is None:
            endpoint = await self._context.files.run(self._load)
        await endpoint(scope, receive, send)

    def _load(self) -> Endpoint:
        with self._loading:
            if self._endpoint is None:
                factory = importlib.import_module(_FACTORY)
                made: Endpoint = factory.endpoint(self._context, self._token, self._options)
                self._endpoint = made
            return self._endpoint

"""AWS's door: how the endpoint becomes a way into the one application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.api.aws.endpoint import Endpoint, S3Gateway
from orchestrator.api.aws.keys import Keys
from orchestrator.api.aws.operations import Operations
from orchestrator.api.aws.services import served
from orchestrator.api.aws.sigv4 import Verifier
from orchestrator.api.context import Context


@dataclass(frozen=True)
class AwsOptions:
    """How signed requests are answered.

    Attributes:
        verify_signatures: False believes every claim; for a loopback address only.
        services: Further services by botocore's name, or others in the place of those of every
            installation.
        s3: What answers S3; None = it is not served.
    """

    verify_signatures: bool = True
    services: Mapping[str, Operations] = field(default_factory=dict)
    s3: S3Gateway | None = None


def endpoint(context: Context, token: str, options: AwsOptions) -> Endpoint:
    """Return the application for signed requests of an opened service.

    Args:
        context: The use cases.
        token: The bearer token; its access key signs.
        options: How.
    """
    clock = context.service.clock
    verifier = Verifier(Keys([token]), clock, verifies=options.verify_signatures)
    return Endpoint(context, verifier, {**served(clock), **options.services}, options.s3)

"""The endpoint of an installation: which services it has, whose keys it knows.

Loaded by the first signed request. This is where a further service is put in.
"""

from __future__ import annotations

from orchestrator.api.aws.cloudwatch import CloudWatch
from orchestrator.api.aws.doors import AwsOptions
from orchestrator.api.aws.ecr import Ecr
from orchestrator.api.aws.endpoint import Endpoint, Threads
from orchestrator.api.aws.iam import Iam
from orchestrator.api.aws.identity import Identity
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.keys import Keys, issue
from orchestrator.api.aws.logs import Logs
from orchestrator.api.aws.operations import Operations
from orchestrator.api.aws.s3.gateway import S3Gateway
from orchestrator.api.aws.sagemaker.service import SageMaker
from orchestrator.api.aws.sagemaker_metrics import SageMakerMetrics
from orchestrator.api.aws.sigv4 import Verifier
from orchestrator.api.aws.sts import Sts
from orchestrator.api.context import Context


def endpoint(context: Context, token: str, options: AwsOptions) -> Endpoint:
    """Return the application for signed requests of an opened service.

    Args:
        context: The use cases.
        token: The bearer token; its access key signs.
        options: How.
    """
    verifier = Verifier(Keys([token]), context.service.clock, verifies=options.verify_signatures)
    access = JobAccess(options.url, issue(token, for_jobs=True), options.is_relayed)
    served = {**services(context, access), **options.services}
    s3 = options.s3 or S3Gateway(context.service.buckets)
    threads = Threads(
        context.reads, context.writes, context.scans, context.gathering, context.limits.accepting
    )
    return Endpoint(threads, verifier, served, access, s3)


def services(context: Context, access: JobAccess) -> dict[str, Operations]:
    """Return the services of every installation, by botocore's name of them."""
    identity = Identity()
    return {
        "sts": Sts(identity),
        "iam": Iam(identity),
        "ecr": Ecr(identity, context.service.clock),
        "sagemaker": SageMaker(context.service, access),
        "sagemaker-metrics": SageMakerMetrics(context.service.metrics),
        "cloudwatch": CloudWatch(
            context.service.metrics, context.service.tokens, context.service.clock
        ),
        "logs": Logs(context.service.jobs, context.service.logs, identity),
    }

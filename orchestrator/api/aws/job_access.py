"""How a job reaches this service: on AWS its role would give it the bucket and the metrics.

A job gets a key of its own. It opens data, logs and metrics, and looks at jobs; it starts, stops
and deletes none, so that no program leaves its sandbox by way of the service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.keys import variables
from orchestrator.api.guard import is_loopback

if TYPE_CHECKING:
    from orchestrator.api.aws.keys import AccessKey
    from orchestrator.spec.job import TrainingJobSpec

_OPEN = frozenset({"cloudwatch", "logs", "s3", "sagemaker-metrics", "sts"})
_REGIONS = frozenset({"AWS_REGION", "AWS_DEFAULT_REGION"})
_READS = ("Describe", "Get", "List", "Search", "Simulate")


@dataclass(frozen=True)
class JobAccess:
    """The service as jobs reach it.

    Attributes:
        url: Its address; None = jobs do not reach it. A key that was given out before opens no more then.
        key: The key of jobs.
        is_relayed: Containers reach it at a loopback address, too.
    """

    url: str | None
    key: AccessKey
    is_relayed: bool = False

    def given(self, spec: TrainingJobSpec, region: str) -> TrainingJobSpec:
        """Return a specification whose program finds this service where it would find AWS.

        A job without a network, or with settings of its own for AWS, stays as it is; so does one in
        a container that does not reach the address.

        Args:
            spec: The job.
            region: The one that it is asked for in.
        """
        if self.url is None:
            return spec
        own = {name for name in spec.environment if name.startswith("AWS_")} - _REGIONS
        if own or spec.enable_network_isolation or not self._reaches(spec.backend, self.url):
            return spec
        environment = variables(self.url, self.key, region)
        return spec.model_copy(update={"environment": {**environment, **spec.environment}})

    def check(self, access_key: str, service: str, operation: str) -> None:
        """Refuse a job what is not for jobs.

        Raises:
            AwsError: The key is that of jobs, and this is not open to it.
        """
        if access_key != self.key.id or service in _OPEN or operation.startswith(_READS):
            return
        raise AwsError(
            "AccessDeniedException",
            f"The key of a job is not authorized to perform: {service}:{operation}. It opens "
            "buckets, logs and metrics only",
        )

    def _reaches(self, backend: str, url: str) -> bool:
        if backend == "process" or self.is_relayed:
            return True
        return not is_loopback(urlsplit(url).hostname or "")

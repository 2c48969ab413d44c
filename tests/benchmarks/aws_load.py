"""Many signed requests of SageMaker's API, made beforehand, sent by `wrk` from 32 connections."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from orchestrator.api.aws.keys import AccessKey

CLIENTS = 32
TARGET = "SageMaker."
END = "\0"
REQUEST: dict[str, Any] = {
    "TrainingJobName": "NAME",
    "RoleArn": "arn:aws:iam::000000000000:role/orchestrator",
    "AlgorithmSpecification": {
        "TrainingImage": "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.13-cpu-py312",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["/bin/bash"],
        "ContainerArguments": ["-c", "chmod +x /opt/ml/input/data/sm_drivers/sm_train.sh"],
        "MetricDefinitions": [{"Name": "train:loss", "Regex": "loss=([0-9.]+)"}],
    },
    "HyperParameters": {f"parameter_{n}": str(n * 0.5) for n in range(12)},
    "Environment": {f"VARIABLE_{n}": f"value {n}" for n in range(6)},
    "InputDataConfig": [
        {
            "ChannelName": name,
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": f"s3://bench/input/{name}",
                    "S3DataDistributionType": "FullyReplicated",
                }
            },
        }
        for name in ("train", "code", "sm_drivers")
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://bench/out", "CompressionType": "GZIP"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    "Tags": [{"Key": "team", "Value": "vision"}],
}
"""What SDK v3's ModelTrainer sends, about 2 kB."""

LUA = """
function init(args)
  requests, place = {}, 0
  local file = io.open("%(file)s", "rb"); local all = file:read("*a"); file:close()
  for one in string.gmatch(all, "([^%%z]+)") do requests[#requests + 1] = one end
end
function request()
  place = place %% #requests + 1
  return requests[place]
end
function response(status, headers, body)
  if status ~= 200 and not told then told = true; io.write("refused: " .. body .. "\\n") end
end
"""


def creations(run: str, count: int) -> Iterator[bytes]:
    """Yield the bodies of CreateTrainingJob, each with a name of its own."""
    text = json.dumps(REQUEST)
    for number in range(count):
        yield text.replace("NAME", f"{run}-{number}").encode()


def signed(url: str, key: AccessKey, operation: str, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole HTTP requests; their signatures hold for five minutes."""
    signer = SigV4Auth(Credentials(key.id, key.secret), "sagemaker", "us-east-1")
    for body in bodies:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{TARGET}{operation}",
        }
        request = AWSRequest("POST", f"{url}/", headers, body)
        signer.add_auth(request)
        sent = {"Host": urlsplit(url).netloc, **dict(request.headers.items())}
        sent["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        yield f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body


def per_second(url: str, requests: Iterable[bytes], seconds: int, folder: Path) -> float:
    """Send requests for a while; return how many a second were answered with success.

    Raises:
        RuntimeError: More were sent than there are, or some were refused.
    """
    given, script = folder / "requests", folder / "load.lua"
    given.write_bytes(END.encode().join(requests))
    script.write_text(LUA % {"file": given})
    output = subprocess.run(
        ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    given.unlink()
    found = re.search(r"(\d+) requests in ([\d.]+)s", output)
    if found is None or "Non-2xx" in output:
        raise RuntimeError(f"{url}: {output}")
    return int(found[1]) / float(found[2])

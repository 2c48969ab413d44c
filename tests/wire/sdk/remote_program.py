"""A user of the SageMaker SDK v3 whose functions run as jobs: ``@remote``, and an executor of several.

Run as ``remote_program.py ANSWER``: what was seen is written to ANSWER as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from sagemaker.core.remote_function import RemoteExecutor, remote
from sagemaker.core.remote_function.client import get_future

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/sagemaker-base-python-311:1.0"
ANSWER = sys.argv[1]
SETTINGS: dict[str, Any] = {
    "image_uri": IMAGE,
    "instance_type": "ml.m5.large",
    "role": "orchestrator",
}
FACTOR = 3


@remote(job_name_prefix="decorated", environment_variables={"GREETING": "hello"}, **SETTINGS)
def scaled(numbers: list[float]) -> dict[str, Any]:
    """Uses what is around it here, and tells where it ran."""
    return {
        "numbers": [FACTOR * number for number in numbers],
        "job": os.environ["TRAINING_JOB_NAME"],
        "greeting": os.environ["GREETING"],
        "python": list(sys.version_info[:2]),
    }


def halved(number: int) -> float:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number / 2


def main() -> None:
    with RemoteExecutor(max_parallel_jobs=2, job_name_prefix="several", **SETTINGS) as executor:
        good, bad = executor.submit(halved, 8), executor.submit(halved, 7)
        found: dict[str, Any] = {"decorated": scaled([1, 2.5]), "halved": good.result()}
        try:
            bad.result()
        except ValueError as error:
            found["error"] = str(error)
    name = good._job.job_name
    found["again"] = get_future(name).result()
    found["here"] = list(sys.version_info[:2])
    Path(ANSWER).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

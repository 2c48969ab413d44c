"""Writes ``instances.json`` from published data: ``python -m orchestrator.catalogue.generate``.

Names come from botocore's SageMaker model (enum ``TrainingInstanceType``); hardware from the
EC2 DescribeInstanceTypes answers that moto ships. Nothing is typed by hand.
"""

from __future__ import annotations

import gzip
import json
import sys
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import botocore.session

TARGET = Path(__file__).with_name("instances.json")


def training_instance_types() -> list[str]:
    """Return all names that CreateTrainingJob takes."""
    model = botocore.session.get_session().get_service_model("sagemaker")
    return sorted(model.shape_for("TrainingInstanceType").enum)


def ec2_instance_types() -> dict[str, dict[str, Any]]:
    """Return EC2's description by type name."""
    packed = resources.files("moto.ec2").joinpath("resources/instance_types.json.gz").read_bytes()
    types: dict[str, dict[str, Any]] = json.loads(gzip.decompress(packed))
    return types


def entry(ec2: dict[str, Any] | None) -> dict[str, Any]:
    """Return one row of the catalogue; unknown hardware (retired types) gives an empty one."""
    if ec2 is None:
        return {}
    gpus = ec2.get("GpuInfo", {})
    return {
        "vcpus": ec2["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": round(ec2["MemoryInfo"]["SizeInMiB"] / 1024, 1),
        "gpus": sum(gpu["Count"] for gpu in gpus.get("Gpus", ())),
        "gpu_name": next((gpu["Name"] for gpu in gpus.get("Gpus", ())), None),
        "gpu_memory_gib": round(gpus.get("TotalGpuMemoryInMiB", 0) / 1024, 1),
        "efa": ec2.get("NetworkInfo", {}).get("EfaSupported", False),
    }


def main() -> int:
    """Write the file."""
    ec2 = ec2_instance_types()
    rows = {name: entry(ec2.get(name.removeprefix("ml."))) for name in training_instance_types()}
    content = {
        "as_of": f"{datetime.now(UTC):%Y-%m-%d}",
        "source": f"botocore {metadata.version('botocore')}, EC2 data of moto {metadata.version('moto')}",
        "instances": rows,
    }
    TARGET.write_text(json.dumps(content, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

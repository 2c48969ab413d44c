"""Trains a forest on SageMaker in script mode, with the SageMaker SDK v2: ``python launch.py``."""

from pathlib import Path

import numpy as np
import sagemaker
from sagemaker.pytorch import PyTorch

ROLE = "arn:aws:iam::111122223333:role/SageMakerExecutionRole"


def write_data(folder: Path, rows: int, seed: int) -> str:
    """Write points of three clouds, with the number of the cloud in the last column."""
    random = np.random.default_rng(seed)
    cloud = random.integers(0, 3, rows)
    points = random.normal(size=(rows, 2)) + np.array([[0, 0], [4, 0], [0, 4]])[cloud]
    folder.mkdir(exist_ok=True)
    np.savetxt(folder / "points.csv", np.column_stack([points, cloud]), delimiter=",")
    return str(folder)


session = sagemaker.Session()
train = session.upload_data(write_data(Path("train"), 600, seed=1), key_prefix="clouds/train")
test = session.upload_data(write_data(Path("test"), 200, seed=2), key_prefix="clouds/test")
estimator = PyTorch(
    entry_point="train.py",
    source_dir="src",
    role=ROLE,
    instance_type="ml.m5.xlarge",
    instance_count=1,
    framework_version="2.8.0",
    py_version="py312",
    hyperparameters={"trees": 20, "max-depth": 5},
    metric_definitions=[{"Name": "test:accuracy", "Regex": "accuracy=([0-9.]+)"}],
    base_job_name="clouds-forest",
)
estimator.fit({"train": train, "test": test})
print("image", estimator.training_image_uri())
print("model", estimator.model_data)
for metric in estimator.latest_training_job.describe()["FinalMetricDataList"]:
    print(metric["MetricName"], metric["Value"])

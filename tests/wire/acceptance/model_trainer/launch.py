"""Trains a small network on SageMaker with the SDK v3's ModelTrainer: ``python launch.py``."""

import logging
from pathlib import Path

import numpy as np
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, MetricDefinition, SourceCode

logging.basicConfig(level=logging.INFO, format="%(message)s")  # shows the job's own lines
ROLE = "arn:aws:iam::111122223333:role/SageMakerExecutionRole"
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8.0-cpu-py312"

random = np.random.default_rng(1)
x = random.uniform(-1, 1, size=(512, 2))
Path("data").mkdir(exist_ok=True)
np.savetxt("data/points.csv", np.column_stack([x, x[:, 0] * x[:, 1]]), delimiter=",")

trainer = ModelTrainer(
    training_image=IMAGE,
    role=ROLE,
    source_code=SourceCode(source_dir="src", entry_script="train.py"),
    compute=Compute(instance_type="ml.m5.xlarge", instance_count=1),
    hyperparameters={"epochs": 60, "hidden": 32, "learning_rate": 0.02},
    base_job_name="product-network",
)
trainer.with_metric_definitions([MetricDefinition(name="train:loss", regex="loss=([0-9.]+)")])
trainer.train(input_data_config=[InputData(channel_name="train", data_source="data")])

job = trainer._latest_training_job
print("model", job.model_artifacts.s3_model_artifacts)
for metric in job.final_metric_data_list:
    print(metric.metric_name, metric.value)

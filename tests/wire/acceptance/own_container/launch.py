"""Trains with a container of one's own on SageMaker, with boto3: ``python launch.py``.

The image is built from the Dockerfile beside this file, and pushed to the account's registry.
"""

import random
import time

import boto3

ROLE = "arn:aws:iam::111122223333:role/SageMakerExecutionRole"
IMAGE = "111122223333.dkr.ecr.us-east-1.amazonaws.com/straight-line:1"
BUCKET = "my-training-data"

s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
s3.create_bucket(Bucket=BUCKET)
numbers = random.Random(1)
rows = [
    (x, 3 * x + 2 + numbers.gauss(0, 0.1)) for x in (numbers.uniform(0, 10) for _ in range(200))
]
body = "".join(f"{x},{y}\n" for x, y in rows)
s3.put_object(Bucket=BUCKET, Key="lines/train/points.csv", Body=body.encode())

name = f"straight-line-{int(time.time())}"
sagemaker.create_training_job(
    TrainingJobName=name,
    RoleArn=ROLE,
    AlgorithmSpecification={
        "TrainingImage": IMAGE,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "error", "Regex": "error=([0-9.]+)"}],
    },
    HyperParameters={"intercept": "true"},
    InputDataConfig=[
        {
            "ChannelName": "training",
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": f"s3://{BUCKET}/lines/train/",
                    "S3DataDistributionType": "FullyReplicated",
                }
            },
            "ContentType": "text/csv",
        }
    ],
    OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/lines/models"},
    ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
    StoppingCondition={"MaxRuntimeInSeconds": 600},
)
waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
waiter.wait(TrainingJobName=name, WaiterConfig={"Delay": 1})
job = sagemaker.describe_training_job(TrainingJobName=name)
print("image", job["AlgorithmSpecification"]["TrainingImage"])
print("model", job["ModelArtifacts"]["S3ModelArtifacts"])
for metric in job["FinalMetricDataList"]:
    print(metric["MetricName"], metric["Value"])

"""AWS's wire protocols: what unchanged boto3, the aws CLI and the SageMaker SDKs talk to."""

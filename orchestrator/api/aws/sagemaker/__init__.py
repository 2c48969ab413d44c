"""The operations of SageMaker's API that concern training jobs."""

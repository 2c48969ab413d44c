"""The Python SDK: the nouns of SageMaker's SDK v3, on your own hardware."""

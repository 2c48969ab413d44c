"""The vocabulary: frozen values, no I/O. Words and limits are SageMaker's."""

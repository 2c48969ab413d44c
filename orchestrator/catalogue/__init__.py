"""SageMaker training instance types as data (generated; see ``generate.py``)."""

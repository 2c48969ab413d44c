"""Recorded training: values per optimizer step, in files that are readable while written."""

from orchestrator_runtime.trace.reader import Reader, Trace, read_trace
from orchestrator_runtime.trace.record import Block, StepRecord, Table, Tensor
from orchestrator_runtime.trace.writer import Writer

__all__ = ["Block", "Reader", "StepRecord", "Table", "Tensor", "Trace", "Writer", "read_trace"]

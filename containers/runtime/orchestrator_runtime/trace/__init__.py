"""Recorded training: values per optimizer step, in files that are readable while written."""

from orchestrator_runtime.trace.reader import Reader, Trace, read_trace
from orchestrator_runtime.trace.record import Block, Gpu, StepRecord, SystemSample, Table, Tensor
from orchestrator_runtime.trace.writer import Writer

__all__ = [
    "Block", "Gpu", "Reader", "StepRecord", "SystemSample", "Table", "Tensor", "Trace", "Writer",
    "read_trace",
]  # fmt: skip

"""What was recorded of a run, for TensorBoard: curves of each tensor, histograms, findings."""

from __future__ import annotations

import math
import struct
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.trace.record import HISTOGRAM_SUFFIX

from orchestrator.event_files import Bins, EventFiles
from orchestrator.sdk.whole import as_histogram, as_numpy, optional

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator_runtime.trace import StepRecord
    from orchestrator_runtime.trace.record import Array

    from orchestrator.sdk.recording import Process, Recording

BINS = 64
"""Of histograms that are made of whole tensors."""
_SENSELESS = (ValueError, TypeError, OverflowError, struct.error)
"""What is raised of steps, times and texts that no event has: a program may write its trace itself."""


def write_event_files(recording: Recording, directory: Path) -> int:
    """Write event files, a TensorBoard run for each process; return how many steps there were.

    Scalars are called ``loss``, ``learning_rate``, … and ``gradients/l2/fc.weight``; histograms,
    those of whole tensors as well, ``weights/histogram/fc.weight``. Files of an earlier call are
    replaced. What makes no sense is left out.

    Raises:
        Unavailable: The package ``tensorboard`` is not installed.
        OSError: They cannot be written.
    """
    seen: Counter[int] = Counter()
    steps = 0
    with EventFiles(directory) as files:
        for process in recording.refresh().processes():
            seen[process.rank] += 1
            again = f"-start-{seen[process.rank]}" if seen[process.rank] > 1 else ""
            _write(files, f"rank-{process.rank}{again}", process)
            steps += len(process.steps)
    return steps


def _write(files: EventFiles, run: str, process: Process) -> None:
    times: dict[int, float] = {}
    for record in process.steps:
        times.setdefault(record.step, record.time)
        with suppress(*_SENSELESS):
            files.add(run, record.step, record.time, scalars=_scalars(record))
    for array in process.arrays:
        at = times.get(array.step, process.started)
        with suppress(*_SENSELESS):
            files.add(run, array.step, at, histograms=_histograms(array))
    for finding in process.findings:
        with suppress(*_SENSELESS):
            step, tag = int(finding.get("step", 0)), f"findings/{finding.get('name', '')}"
            at = times.get(step, process.started)
            files.add(run, step, at, texts=[(tag, _told(finding))])


def _scalars(record: StepRecord) -> Iterator[tuple[str, float]]:
    suffix = f"@{record.optimizer}" if record.optimizer else ""
    for name, value in record.scalars.items():
        yield name + suffix, value
    for series, block in record.blocks.items():
        for tensor, value in block.present():
            yield f"{series}/{tensor.name}{suffix}", value


def _histograms(array: Array) -> Iterator[tuple[str, Bins]]:
    bins = _bins(array)
    if bins is not None:
        collection = array.collection.removesuffix(HISTOGRAM_SUFFIX)
        yield f"{collection}/histogram/{array.name}", bins


def _bins(array: Array) -> Bins | None:
    """Return a histogram, None where there is nothing finite to show."""
    if array.collection.endswith(HISTOGRAM_SUFFIX):
        recorded = as_histogram(array)
        return Bins(recorded.edges, recorded.counts) if recorded.edges else None
    if 0 in array.shape:
        return None
    numpy = optional("numpy")
    values = as_numpy(array).astype("float64")
    finite = values[numpy.isfinite(values)]
    if not finite.size or not math.isfinite(float(finite.max()) - float(finite.min())):
        return None
    counts, edges = numpy.histogram(finite, BINS)
    return Bins(edges.tolist(), counts.tolist())


def _told(finding: dict[str, Any]) -> str:
    """Return a finding in Markdown."""
    lines = [str(finding.get("message", "")), "", str(finding.get("cause", "")), ""]
    return "\n".join([*lines, *(f"- {remedy}" for remedy in finding.get("remedies", ()))])

"""What was recorded of a job, fetched as far as it is there and read on when asked again."""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator_runtime.trace import Reader, StepRecord
from orchestrator_runtime.trace.record import HISTOGRAM_SUFFIX, Array
from orchestrator_runtime.trace.writer import SUFFIX

from orchestrator.errors import NotFound
from orchestrator.spec.findings import TRACE_NAME_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK_BYTES = 4 << 20
LOSSES = "losses"
"""The collection that a loss belongs to; it has no statistics."""
_NAME = re.compile(TRACE_NAME_PATTERN)
Curve = dict[int, float]
"""Values by step."""


class TraceSource(Protocol):
    """Where traces come from: a transport, or a folder."""

    def list_tensors(self, name: str, /) -> list[dict[str, Any]]:
        """Return the files with what was recorded of a job: name, size_bytes."""
        ...

    def read_tensors(
        self, name: str, file: str, /, *, offset: int, limit_bytes: int
    ) -> dict[str, Any]:
        """Return bytes of one of these: data, next_offset, finished."""
        ...


class TraceFolder:
    """A folder of traces on this machine, of a program that was no job.

    Args:
        folder: The folder, or one of its files.

    Raises:
        NotFound: It has no trace.
    """

    def __init__(self, folder: Path) -> None:
        self._files = [folder] if folder.is_file() else sorted(folder.glob(f"*{SUFFIX}"))
        if not self._files:
            raise NotFound(
                f"a folder of traces must hold files *{SUFFIX}, got {str(folder)!r}; give the "
                "directory of `orchestrator debug --traces`"
            )

    def list_tensors(self, _name: str) -> list[dict[str, Any]]:
        """Return the files."""
        return [{"name": path.name, "size_bytes": path.stat().st_size} for path in self._files]

    def read_tensors(
        self, _name: str, file: str, *, offset: int, limit_bytes: int
    ) -> dict[str, Any]:
        """Return bytes of a file, which may still grow."""
        (path,) = (path for path in self._files if path.name == file)
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(limit_bytes)
        return {"data": data, "next_offset": offset + len(data), "finished": False}


class Process:
    """The trace of one process.

    Attributes:
        steps: All steps so far.
        arrays: All whole tensors and histograms so far.
        findings: What rules found, as the trace has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.finished = False
        self.reader = Reader(str(path))
        self.rank = 0
        self.started = 0.0
        self.steps: list[StepRecord] = []
        self.arrays: list[Array] = []
        self.findings: list[dict[str, Any]] = []

    def read(self) -> None:
        """Take what was fetched."""
        for item in self.reader.read():
            if isinstance(item, StepRecord):
                self.steps.append(item)
            elif isinstance(item, Array):
                self.arrays.append(item)
            elif isinstance(item, dict) and item.get("event") == "start":
                self._start(item)
            elif isinstance(item, dict) and item.get("event") == "finding":
                self.findings.append(item)

    def _start(self, event: Mapping[str, Any]) -> None:
        rank, started = event.get("rank"), event.get("time")
        self.rank = rank if isinstance(rank, int) else 0
        self.started = float(started) if isinstance(started, int | float) else 0.0


class Recording:
    """The traces of a job.

    Of several processes one is shown, the first unless ``rank`` says another. What later attempts
    recorded replaces what earlier ones did at the same steps. Names of tensors of the second
    optimizer end in ``@1``, and so on.

    Args:
        source: Where the traces are; a transport, for example.
        job: The job's name.
        rank: Of which process; None = the lowest that was recorded.

    Attributes:
        scalars: Curves by name: ``loss``, ``learning_rate``, ``norm``, reported metrics, …
        series: Curves by series (``gradients/l2``) and the tensor's name.
        arrays: Whole tensors by ``collection/name`` and step.
        histograms: Histograms, by the same.
        roles: What tensors are, by ``collection/name``: ``matrix``, ``relu``, …
    """

    def __init__(self, source: TraceSource, job: str, rank: int | None = None) -> None:
        self._source = source
        self._job = job
        self._rank = rank
        self._folder = Path(tempfile.mkdtemp(prefix="orchestrator-tensors-"))
        self._removal = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._processes: dict[str, Process] = {}
        self._taken: dict[str, tuple[int, int]] = {}
        self.scalars: dict[str, Curve] = {}
        self.series: dict[str, dict[str, Curve]] = {}
        self.arrays: dict[str, dict[int, Array]] = {}
        self.histograms: dict[str, dict[int, Array]] = {}
        self.roles: dict[str, str] = {}

    def close(self) -> None:
        """Remove what was fetched; what was read stays. Idempotent."""
        self._removal()

    def refresh(self) -> Recording:
        """Fetch what is new, and return this.

        Raises:
            NotFound: The job does not exist any more.
        """
        for file in self._source.list_tensors(self._job):
            name = file["name"]
            if not _NAME.fullmatch(name):  # it becomes a file here
                continue
            process = self._processes.setdefault(name, Process(self._folder / name))
            if not process.finished and file["size_bytes"] > process.offset:
                self._fetch(name, process)
                process.read()
        for name, process in self._shown():
            self._take(name, process)
        return self

    def newest(self) -> tuple[str, list[StepRecord]]:
        """Return name and steps of the process that began last: those of the present attempt."""
        shown = self._shown()
        return (shown[-1][0], shown[-1][1].steps) if shown else ("", [])

    def processes(self) -> list[Process]:
        """Return all processes, by rank, and in the order in which they began."""
        read = [each for each in self._processes.values() if each.offset]
        return sorted(read, key=lambda process: (process.rank, process.started))

    def _fetch(self, name: str, process: Process) -> None:
        with process.path.open("ab") as stream:
            while True:
                chunk = self._source.read_tensors(
                    self._job, name, offset=process.offset, limit_bytes=CHUNK_BYTES
                )
                stream.write(chunk["data"])
                process.offset = chunk["next_offset"]
                process.finished = chunk["finished"]
                if not chunk["data"] or process.finished:
                    return

    def _shown(self) -> list[tuple[str, Process]]:
        read = [(name, each) for name, each in self._processes.items() if each.offset]
        ranks = {each.rank for _, each in read}
        rank = min(ranks, default=0) if self._rank is None else self._rank
        mine = [(name, each) for name, each in read if each.rank == rank]
        return sorted(mine, key=lambda pair: (pair[1].started, pair[0]))

    def _take(self, name: str, process: Process) -> None:
        steps, arrays = self._taken.get(name, (0, 0))
        for record in process.steps[steps:]:
            self._add(record)
        for array in process.arrays[arrays:]:
            self._add_array(array)
        self._taken[name] = len(process.steps), len(process.arrays)

    def _add_array(self, array: Array) -> None:
        collection = array.collection.removesuffix(HISTOGRAM_SUFFIX)
        arrays = self.arrays if collection == array.collection else self.histograms
        arrays.setdefault(f"{collection}/{array.name}", {})[array.step] = array

    def _add(self, record: StepRecord) -> None:
        suffix = f"@{record.optimizer}" if record.optimizer else ""
        for name, value in record.scalars.items():
            self.scalars.setdefault(name + suffix, {})[record.step] = value
        for series, block in record.blocks.items():
            curves = self.series.setdefault(series, {})
            for tensor, value in block.present():
                name = tensor.name + suffix
                if name not in curves:
                    curves[name] = {}
                    self.roles[f"{block.table.collection}/{name}"] = tensor.role
                curves[name][record.step] = value

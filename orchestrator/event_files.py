"""TensorBoard's event files, written by TensorBoard's own package (extra ``export``)."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from orchestrator.errors import Unavailable

PREFIX = "events.out.tfevents."
_PROTOS = "tensorboard.compat.proto"


class Bins(NamedTuple):
    """A histogram.

    Attributes:
        edges: Limits of the bins, one more than there are bins.
        counts: Elements by bin.
    """

    edges: Sequence[float]
    counts: Sequence[int]


class EventFiles:
    """The runs below a directory; a file appears under its name when all is written.

    Args:
        directory: Made where it is missing.

    Raises:
        Unavailable: The package ``tensorboard`` is not installed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._events = _imported(f"{_PROTOS}.event_pb2").Event
        self._summaries = _imported(f"{_PROTOS}.summary_pb2")
        self._record_writer = _imported("tensorboard.summary.writer.record_writer").RecordWriter
        self._writers: dict[str, Any] = {}
        self._stack = ExitStack()
        directory.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(
        self,
        run: str,
        step: int,
        seconds: float,
        *,
        scalars: Iterable[tuple[str, float]] = (),
        histograms: Iterable[tuple[str, Bins]] = (),
        texts: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Write what one run has at one step, by tags.

        Args:
            run: Directory of the run.
            step: Of the run.
            seconds: When it was, since 1970.
            scalars: Numbers.
            histograms: Those that have a bin.
            texts: In Markdown.
        """
        value = self._summaries.Summary.Value
        values = [value(tag=tag, simple_value=number) for tag, number in scalars]
        values += [value(tag=tag, histo=self._histogram(bins)) for tag, bins in histograms]
        values += [self._text(tag, text) for tag, text in texts]
        event = self._events(
            wall_time=seconds, step=step, summary=self._summaries.Summary(value=values)
        )
        self._writer(run, seconds).write(event.SerializeToString())

    def _writer(self, run: str, seconds: float) -> Any:
        writer = self._writers.get(run)
        if writer is None:
            path = self._directory / run / f"{PREFIX}{int(seconds):010d}.orchestrator"
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._stack.enter_context(replacing(path))
            writer = self._record_writer(self._stack.enter_context(partial.open("wb")))
            self._writers[run] = writer
            head = self._events(wall_time=seconds, file_version="brain.Event:2")
            writer.write(head.SerializeToString())
        return writer

    def _histogram(self, bins: Bins) -> Any:
        """Return a histogram; its sums are those of elements in the middle of their bins."""
        middles = [(low + high) / 2 for low, high in zip(bins.edges, bins.edges[1:], strict=False)]
        weighted = list(zip(middles, bins.counts, strict=True))
        return self._summaries.HistogramProto(
            min=bins.edges[0],
            max=bins.edges[-1],
            num=sum(bins.counts),
            sum=sum(middle * count for middle, count in weighted),
            sum_squares=sum(middle * middle * count for middle, count in weighted),
            bucket_limit=bins.edges[1:],
            bucket=bins.counts,
        )

    def _text(self, tag: str, text: str) -> Any:
        tensor = _imported(f"{_PROTOS}.tensor_pb2").TensorProto
        kinds = _imported(f"{_PROTOS}.types_pb2")
        data = self._summaries.SummaryMetadata.PluginData(plugin_name="text")
        return self._summaries.Summary.Value(
            tag=tag,
            metadata=self._summaries.SummaryMetadata(plugin_data=data),
            tensor=tensor(dtype=kinds.DT_STRING, string_val=[text.encode()]),
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to that takes the place of ``path`` if all goes well."""
    partial = path.with_name(f"partial-{path.name.removeprefix(PREFIX)}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def missing(what: str, package: str, remedy: str = "") -> Unavailable:
    """Return the error for a format whose package is not installed."""
    return Unavailable(
        f"writing {what} needs the package {package}, which is not installed; "
        f"install it with: pip install 'orchestrator[export]'{remedy}"
    )


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing("TensorBoard", "tensorboard") from error

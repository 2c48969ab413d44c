"""``/metrics``: numbers about the service, in Prometheus's text format."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator import __version__
from orchestrator.api.context import Context
from orchestrator.api.errors import MethodNotAllowed, problem_response

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})

Labels = tuple[tuple[str, str], ...]


class RequestCounts:
    """How many requests were answered, by way in, method and status."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()

    def add(self, door: str, method: str, status: int) -> None:
        """Count one; the labels are ours, so that no client can make up new ones."""
        self._counts[door or "none", method if method in _METHODS else "other", status] += 1

    def samples(self) -> dict[Labels, float]:
        """Return the counts with their labels."""
        return {
            (("door", door), ("method", method), ("status", str(status))): count
            for (door, method, status), count in sorted(self._counts.items())
        }


class Prometheus:
    """The ASGI application at ``/metrics``.

    Args:
        context: The use cases.
        counts: The requests.
    """

    def __init__(self, context: Context, counts: RequestCounts) -> None:
        self._context = context
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["method"] not in {"GET", "HEAD"}:
            refused = MethodNotAllowed("numbers can only be read; use GET")
            await problem_response(refused, {"Allow": "GET, HEAD"})(scope, receive, send)
            return
        service = self._context.service
        jobs = await self._context.reads.run(service.jobs.counts)
        text = "".join(
            (
                family(
                    "orchestrator_build_info",
                    "gauge",
                    "The version, as a label.",
                    {(("version", __version__),): 1},
                ),
                family(
                    "orchestrator_training_jobs",
                    "gauge",
                    "Training jobs in the store, by status.",
                    {(("status", status),): count for status, count in jobs.items()},
                ),
                family(
                    "orchestrator_driving",
                    "gauge",
                    "1 while this process drives the jobs.",
                    {(): int(service.driving.is_driving)},
                ),
                family(
                    "orchestrator_event_streams",
                    "gauge",
                    "Event streams that are open.",
                    {(): self._context.streams},
                ),
                family(
                    "orchestrator_http_requests_total",
                    "counter",
                    "Requests answered; status 0 = cut before an answer.",
                    self._counts.samples(),
                ),
                *_process(),
            )
        )
        answer = Response(text, headers={"content-type": CONTENT_TYPE})
        await answer(scope, receive, send)


def family(name: str, kind: str, text: str, samples: Mapping[Labels, float]) -> str:
    """Return one metric with its samples in the text format."""
    lines = [f"# HELP {name} {text}\n# TYPE {name} {kind}\n"]
    for labels, value in samples.items():
        inside = ",".join(f'{label}="{_escaped(given)}"' for label, given in labels)
        lines.append(f"{name}{f'{{{inside}}}' if inside else ''} {_number(value)}\n")
    return "".join(lines)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _process() -> Iterable[str]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield family(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time.",
        {(): used.ru_utime + used.ru_stime},
    )
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    pages = int(statm.read_text("ascii").split()[1])
    yield family(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory.",
        {(): pages * os.sysconf("SC_PAGE_SIZE")},
    )
    yield family(
        "process_open_fds",
        "gauge",
        "Open file descriptors.",
        {(): sum(1 for _ in Path("/proc/self/fd").iterdir())},
    )

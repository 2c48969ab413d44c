"""Calls of every method of a transport, good ones and bad ones, whose answers can be compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.errors import CapacityUnavailable, InputError, InvalidSpec
from orchestrator.sdk.transport import Transport

READS = frozenset(
    {
        "info",
        "describe",
        "list_jobs",
        "tags",
        "set_tags",
        "log_streams",
        "read_log",
        "last_metrics",
        "metric_curve",
        "findings",
        "list_tensors",
        "read_tensors",
        "export_metrics",
        "download",
        "delete",
        "put_source",
    }
)
"""What is answered without any driver."""
PAST = datetime(2026, 1, 1, tzinfo=UTC)
NO_NAMES = ("absent", "", ".", "..", "../x", "a/b", "a b", "-x", "ü", "done?", "done#", "x" * 300)


@dataclass(frozen=True)
class Probe:
    """One call.

    Attributes:
        method: Of the transport.
        is_good: Whether it has a result.
        by_form: Whether the words of its refusal depend on the form in which the call was made.
    """

    name: str
    method: str
    call: Callable[[Transport, Path], Any]
    is_good: bool = False
    by_form: bool = False

    @property
    def folder(self) -> str:
        """A name for files."""
        return re.sub(r"[^a-z_0-9]+", "-", self.name.lower())[:60] + f"-{abs(hash(self.name))}"


def specification(name: str, **change: Any) -> dict[str, Any]:
    """A job that does nothing."""
    return {
        "training_job_name": name,
        "algorithm_specification": {"container_entrypoint": ["true"]},
        **change,
    }


BAD_SUBMISSIONS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no name": ({"training_job_name": ""}, InvalidSpec, "training_job_name"),
    "two faults": ({"foo": 1, "priority": 10**6}, InvalidSpec, "2 rules of the request broken"),
    "no program": ({"algorithm_specification": {}}, InvalidSpec, "got none of them"),
    "type": ({"resource_config": {"instance_type": "ml.p4d.24"}}, InvalidSpec, "did you mean"),
    "cpus": ({"resources": {"cpus": 10**6}}, CapacityUnavailable, "CPU slots"),
    "channel": (
        {"input_data_config": [{"channel_name": "c", "uri": "/no/such"}]},
        InputError,
        "must name an existing path",
    ),
    "variable": ({"environment": {"SM_X": "1"}}, InvalidSpec, "set by the platform"),
    "secret": ({"secrets": ["API_KEY"]}, InvalidSpec, "every secret needs a value"),
    "source": (
        {"source_code": {"digest": "0" * 64, "entry_script": "x.py"}},
        InvalidSpec,
        "must name a source archive that was uploaded",
    ),
    "back end": ({"backend": "podman"}, InvalidSpec, "must be one of"),
    "surrogate": ({"hyper_parameters": {"k": "\ud800"}}, InvalidSpec, "surrogate|unicode"),
    "password": (
        {"environment": {"PASSWORD": "p" * 600}},
        InvalidSpec,
        "^(?!.*ppp).*environment.PASSWORD",
    ),
}


def _calls() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], bool, bool]]:
    """Method, arguments, and whether it is good, and whether its refusal depends on the form."""
    yield "info", (), {}, True, False
    for name in ("done", "failed", "Failed", *NO_NAMES):
        good = name.lower() in {"done", "failed"}
        for method in (
            "describe", "tags", "log_streams", "last_metrics", "findings", "list_tensors"
        ):  # fmt: skip
            yield method, (name,), {}, good, False
        yield "wait", (name,), {"after": -1, "timeout_seconds": 0}, good, False
        yield "read_log", (name,), {"host": "algo-1"}, good, False
        yield "metric_curve", (name, "loss"), {}, name == "done", False
        yield "stop", (name,), {}, False, False
        yield "set_tags", (name,), {"put": [], "remove": []}, good, False
        if not good:
            yield "delete", (name,), {}, False, False
    yield from _lists()
    yield from _parameters()


def _lists() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], bool, bool]]:
    good: list[dict[str, Any]] = [
        {},
        {"limit": 1},
        {"limit": "1"},
        {"name_contains": "D"},
        {"name_contains": ""},
        {"name_contains": None, "cursor": None},
        {"status_equals": "Failed"},
        {"sort_by": "Name"},
        {"sort_by": "Status", "descending": False},
        {"created_after": PAST},
        {"created_before": PAST.isoformat()},
        {"modified_after": "2026-01-01T00:00:00Z"},
    ]
    bad: list[dict[str, Any]] = [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"name_contains": "x" * 64},
        {"status_equals": "failed"},
        {"sort_by": "name"},
        {"created_after": "2026-01-01T00:00:00"},
        {"created_after": "2026-01-01"},
        {"created_after": "x"},
        {"created_after": 5},
        {"modified_before": "1767225600"},
        {"cursor": "x" * 3000},
        {"foo": 1},
    ]
    for query in good:
        yield "list_jobs", (), query, True, False
    yield "list_jobs", (), {"cursor": "x"}, False, False
    for query in bad:
        yield "list_jobs", (), query, False, True


def _parameters() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], bool, bool]]:
    for after, bad in ((10**6, False), (-7, True), (10**20, True), ("x", True), (1.5, True)):
        yield "wait", ("done",), {"after": after, "timeout_seconds": 0}, not bad, bad
    yield "wait", ("done",), {"after": 0, "timeout_seconds": -3}, True, False
    for grace in (-1, 4000, "x"):
        yield "stop", ("done",), {"grace_seconds": grace}, False, True
    yield from _tags()
    for host in ("algo-2", "algo-0", "x", "", "../x", "a/b"):
        yield "read_log", ("done",), {"host": host}, False, True
    parts: list[dict[str, Any]] = [
        {"attempt": 1},
        {"attempt": 2},
        {"offset": 5},
        {"offset": 10**6},
        {"limit_bytes": 3},
        {"wait_seconds": 0.1},
        {"wait_seconds": -1},
    ]
    for part in parts:
        yield "read_log", ("done",), {"host": "algo-1", **part}, True, False
    for name, values in (
        ("attempt", (0, -1, 10**9)),
        ("offset", (-1, 2**70)),
        ("limit_bytes", (0, -1, 1 << 30)),
    ):
        for value in values:
            yield "read_log", ("done",), {"host": "algo-1", name: value}, False, True
    for file in ("absent.trace", "x", "", "../x.trace", "a/b.trace", "x" * 300):
        yield "read_tensors", ("done", file), {}, False, False
    for name, value in (
        ("offset", -1),
        ("offset", 2**70),
        ("limit_bytes", 0),
        ("limit_bytes", 1 << 30),
    ):
        yield "read_tensors", ("done", "a.trace"), {name: value}, False, True
    yield "metric_curve", ("done", "odd"), {}, True, False
    yield "metric_curve", ("done", "loss"), {"max_points": 10}, True, False
    yield "metric_curve", ("done", "unknown"), {}, False, False
    for metric, points in (("", 10), ("y" * 300, 10), ("loss", 9), ("loss", 10**9)):
        yield "metric_curve", ("done", metric), {"max_points": points}, False, True


def _tags() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], bool, bool]]:
    two = [{"key": "same", "value": "1"}, {"key": "same", "value": "2"}]
    for put, remove in (([{"key": "b", "value": "2"}], ["b"]), (two, ["same"]), ([], ["gone"])):
        yield "set_tags", ("done",), {"put": put, "remove": remove}, True, False
    fifty = [{"key": str(number)} for number in range(50)]
    yield "set_tags", ("done",), {"put": fifty, "remove": []}, False, False
    wrong: list[list[Any]] = [
        [{"key": ""}],
        [{"key": "k" * 129}],
        [{"key": "k", "x": 1}],
        [{}],
        [*fifty, {}],
    ]
    for bad in wrong:
        yield "set_tags", ("done",), {"put": bad, "remove": []}, False, True
    for gone in ([""], ["x" * 200], [5], ["x"] * 51):
        yield "set_tags", ("done",), {"put": [], "remove": gone}, False, True


def _probes() -> Iterator[Probe]:
    for method, arguments, named, is_good, by_form in _calls():
        short = ", ".join(
            [*(repr(a)[:20] for a in arguments), *(f"{k}={v!r}"[:40] for k, v in named.items())]
        )

        def call(
            transport: Transport,
            _: Path,
            method: str = method,
            arguments: tuple[Any, ...] = arguments,
            named: dict[str, Any] = named,
        ) -> Any:
            said = getattr(transport, method)(*arguments, **named)
            return _lasting(said) if method == "info" else said

        yield Probe(f"{method}({short})", method, call, is_good, by_form)
    for name in ("done", "failed", *NO_NAMES):
        for kind in ("model", "output", "x", "../x", ""):
            yield _download(name, kind)
    for name in ("done", "failed", *NO_NAMES):
        for file_format in ("csv", "parquet", "tensorboard", "xlsx"):
            yield _export(name, file_format)
    yield Probe("put_source(bytes)", "put_source", _put, is_good=False)


def _lasting(info: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the process that answers."""
    return {key: value for key, value in info.items() if key not in {"pid", "driving"}}


def _download(name: str, kind: str) -> Probe:
    def call(transport: Transport, folder: Path) -> Any:
        got = transport.download(name, kind, folder / "got")
        return got.relative_to(folder).as_posix(), got.read_bytes()

    good = (name, kind) == ("done", "model")
    return Probe(f"download({name[:20]!r}, {kind!r})", "download", call, good)


def _export(name: str, file_format: str) -> Probe:
    def call(transport: Transport, folder: Path) -> Any:
        got = transport.export_metrics(name, file_format, folder / "points")
        assert got == folder / "points"
        files = sorted(path for path in [got, *got.rglob("*")] if path.is_file())
        return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files]

    good = name in {"done", "failed"} and file_format != "xlsx"
    return Probe(f"export_metrics({name[:20]!r}, {file_format!r})", "export_metrics", call, good)


def _put(transport: Transport, folder: Path) -> Any:
    """What is no archive: refused by a service, kept by a home whose owner put it there."""
    (folder / "archive").write_bytes(b"x" * 10)
    try:
        return transport.put_source(folder / "archive") != ""
    except InvalidSpec:
        return True


PROBES = list({probe.name: probe for probe in _probes()}.values())

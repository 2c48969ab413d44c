"""Metrics that a program reports arrive; reporting never disturbs the program."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import contract, jsonlite, records, report_metric
from orchestrator_runtime.intake import RecordIntake, record_of
from orchestrator_runtime.mask import Masker

from tests.runtime.hosts import RUNTIME, Host

SOME = "from orchestrator_runtime import report_metric\n"


class TestInAJob:
    def test_a_metric_arrives_with_name_value_step_time_and_rank(self, fenced: Host):
        before = time.time()  # noqa: TID251
        fenced.program(SOME + "report_metric('validation:accuracy', 0.97, step=3)").run()
        (record,) = fenced.records()
        assert before <= record.pop("time") <= time.time()  # noqa: TID251
        assert record == {
            "kind": "metric",
            "name": "validation:accuracy",
            "value": 0.97,
            "step": 3,
            "rank": 0,
        }

    def test_all_ranks_report_at_once(self, fenced: Host):
        record = fenced.program(
            """
            import os
            from orchestrator_runtime import report_metric
            report_metric("before", 0)
            pids = []
            for rank in range(4):
                pid = os.fork()
                if pid == 0:
                    os.environ["RANK"] = str(rank)
                    for step in range(5000):
                        report_metric("loss", 1 / (step + 1), step=step)
                    raise SystemExit
                pids.append(pid)
            for pid in pids:
                os.waitpid(pid, 0)
            """
        ).run()
        found = [(r["rank"], r["step"]) for r in fenced.records() if r["name"] == "loss"]
        assert sorted(found) == [(rank, step) for rank in range(4) for step in range(5000)]
        for rank in range(4):
            steps = [step for r, step in found if r == rank]
            assert steps == sorted(steps)
        assert record["records_dropped"] == 0

    def test_values_that_are_not_finite_arrive_as_such(self, host: Host):
        host.program(SOME + "for v in ('nan', 'inf', '-inf'): report_metric(v, float(v))").run()
        values = {r["name"]: r["value"] for r in host.records()}
        assert values["nan"] != values["nan"]
        assert values["inf"] == float("inf")
        assert values["-inf"] == float("-inf")

    def test_junk_in_the_pipe_is_kept_out(self, host: Host):
        record = host.program(
            """
            import os, time
            fifo = os.open(os.environ["ORCHESTRATOR_RECORDS"], os.O_WRONLY)
            for junk in (
                b"junk\\n", b"\\n", b"[1]\\n", b"{}\\n", b'{"kind": 1}\\n', b"{" * 3000 + b"\\n",
                b'{"kind": "\\xff"}\\n', b'{"kind": "a"\\n', b"\\0" * 4096, b"x" * 300_000 + b"\\n",
                b'{"kind": "a", "b": ' + b"[" * 3000 + b"\\n",
            ):
                while junk:
                    junk = junk[os.write(fifo, junk):]
            os.write(fifo, b'{"kind": "metric"}\\n{"kind": "unfinished"')
            """
        ).run()
        assert host.records() == [{"kind": "metric"}]
        assert record["outcome"] == "exited"
        assert record["records_dropped"] >= 9

    def test_a_pipe_that_was_removed_or_replaced_harms_nobody(self, host: Host):
        record = host.program(
            SOME + "import os; p = os.environ['ORCHESTRATOR_RECORDS']; os.unlink(p);"
            "open(p, 'w'); report_metric('a', 1); print('done')"
        ).run()
        assert record["outcome"] == "exited"
        assert host.log == b"done\n"


class TestTheArguments:
    """Wrong ones are refused outside of a job too."""

    @pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "a\0"])
    def test_a_name_has_1_to_255_printable_characters(self, name: str):
        with pytest.raises(ValueError, match="1 to 255 printable characters"):
            report_metric(name, 1)

    @pytest.mark.parametrize("name", [None, 3, b"loss"])
    def test_a_name_is_text(self, name: object):
        with pytest.raises(TypeError, match="name must be text"):
            report_metric(name, 1)  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", ["1.5", b"1", None, [1.0], object(), 1j])
    def test_a_value_is_a_number(self, value: object):
        with pytest.raises(TypeError, match="value must be a"):
            report_metric("loss", value)  # type: ignore[arg-type]

    @pytest.mark.parametrize("step", ["3", 3.5, [3]])
    def test_a_step_is_a_whole_number(self, step: object):
        with pytest.raises(TypeError, match="step must be a whole number"):
            report_metric("loss", 1, step=step)  # type: ignore[arg-type]

    def test_a_step_fits_into_64_bits(self):
        with pytest.raises(ValueError, match="64 bits"):
            report_metric("loss", 1, step=2**63)

    def test_numpy_and_torch_scalars_will_do(self):
        numpy = pytest.importorskip("numpy")
        report_metric("loss", numpy.float32(1.5), step=numpy.int64(3))
        report_metric("loss", numpy.array(1.5))
        with pytest.raises(TypeError):
            report_metric("loss", numpy.array([1.5, 2.5]))


@pytest.mark.torch
def test_torch_scalars_will_do():
    import torch

    report_metric("loss", torch.tensor(1.5, requires_grad=True) * 2, step=torch.tensor(3))
    with pytest.raises(TypeError):
        report_metric("loss", torch.ones(2))


@pytest.fixture
def fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A pipe with a reader that does not read, as this process's place for records."""
    path = tmp_path / "records"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    monkeypatch.setenv(contract.RECORDS_VARIABLE, str(path))
    monkeypatch.setattr(records, "_sinks", {})
    yield reader
    os.close(reader)


def own_sink() -> records.Sink:
    return records._sinks[os.getpid()]


def read_all(reader: int) -> bytes:
    data = b""
    while select.select([reader], [], [], 0)[0]:
        data += os.read(reader, 1 << 16)
    return data


class TestWhenNobodyReads:
    def test_reporting_does_not_block_and_what_fits_is_kept_for_later(self, fifo: int):
        for step in range(5000):
            report_metric("loss", 1.0, step=step)
        seen = read_all(fifo)
        report_metric("loss", 1.0, step=5000)
        seen += read_all(fifo)
        while not own_sink().flush():
            seen += read_all(fifo)
        seen += read_all(fifo)
        steps = [jsonlite.loads(line)["step"] for line in seen.splitlines()]
        assert steps == list(range(5001))

    def test_memory_is_bounded(self, fifo: int, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(records, "QUEUE_RECORDS", 10)
        for step in range(5000):
            report_metric("loss", 1.0, step=step)
        assert len(own_sink()._queue) == 10
        assert own_sink().dropped > 3000

    def test_the_process_ends_soon_all_the_same(self, fifo: int):
        program = SOME + "for step in range(5000): report_metric('loss', 1.0, step)"
        environment = {**os.environ, "PYTHONPATH": str(RUNTIME)}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)

    def test_a_forked_child_does_not_send_its_parents_records_again(self, fifo: int):
        for step in range(3000):
            report_metric("loss", 1.0, step=step)
        pid = os.fork()
        if pid == 0:
            report_metric("child", 1.0)
            os._exit(len(own_sink()._queue))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1

    def test_threads_may_report(self, fifo: int):
        barrier = threading.Barrier(4)

        def report(rank: int) -> None:
            barrier.wait()
            for step in range(200):
                report_metric(f"loss{rank}", 1.0, step=step)

        threads = [threading.Thread(target=report, args=(rank,)) for rank in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seen = read_all(fifo)
        while not own_sink().flush():
            seen += read_all(fifo)
        seen += read_all(fifo)
        assert len(seen.splitlines()) == 800


def test_a_descriptor_that_became_something_else_is_not_written_to(fifo: int, tmp_path: Path):
    report_metric("loss", 1.0)
    number = own_sink()._descriptor
    with (tmp_path / "mine").open("wb") as file:
        os.dup2(file.fileno(), number)
        report_metric("loss", 2.0)
    assert (tmp_path / "mine").read_bytes() == b""
    os.close(number)


@pytest.mark.parametrize("path", ["/no/such/pipe", "/etc/passwd", "/"])
def test_without_a_pipe_nothing_happens(path: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(contract.RECORDS_VARIABLE, path)
    monkeypatch.setattr(records, "_sinks", {})
    report_metric("loss", 1.0)


def test_a_call_costs_microseconds(fifo: int):
    stop = threading.Event()
    drain = threading.Thread(target=lambda: [read_all(fifo) for _ in iter(stop.is_set, True)])
    drain.start()
    report_metric("loss", 1.0)
    began = time.perf_counter()
    for step in range(1000):
        report_metric("loss", 0.123, step=step)
    spent = time.perf_counter() - began
    stop.set()
    drain.join()
    assert spent < 1.0  # a thousand in a second, on however slow a machine; 10 us each is usual


class TestTheIntake:
    @pytest.fixture
    def intake(self, tmp_path: Path) -> RecordIntake:
        return RecordIntake(str(tmp_path), Masker([]), quota=100)

    def feed(self, intake: RecordIntake, *pieces: bytes) -> None:
        for piece in pieces:
            os.write(intake.descriptor, piece)
            intake.read()

    def test_joins_lines_that_arrive_in_pieces(self, intake: RecordIntake, tmp_path: Path):
        self.feed(intake, b'{"kind": ', b'"a"}\n{"kind"', b': "b"}\n')
        assert (tmp_path / "records.jsonl").read_bytes() == b'{"kind": "a"}\n{"kind": "b"}\n'

    def test_takes_no_record_from_the_end_of_a_line_that_was_too_long(
        self, intake: RecordIntake, tmp_path: Path
    ):
        self.feed(intake, b"x" * 5000, b'{"kind": "a"}\n', b'{"kind": "b"}\n')
        assert (tmp_path / "records.jsonl").read_bytes() == b'{"kind": "b"}\n'
        assert intake.dropped == 1

    def test_stops_at_its_quota_with_whole_lines(self, intake: RecordIntake, tmp_path: Path):
        self.feed(intake, *[b'{"kind": "%04d"}\n' % i for i in range(20)])
        lines = (tmp_path / "records.jsonl").read_bytes().splitlines()
        assert lines == [b'{"kind": "%04d"}' % i for i in range(5)]
        assert intake.dropped == 15

    def test_on_a_full_disk_counts_what_is_lost(self, tmp_path: Path):
        (tmp_path / "records.jsonl").symlink_to("/dev/full")
        intake = RecordIntake(str(tmp_path), Masker([]), quota=100)
        self.feed(intake, b'{"kind": "a"}\n')
        assert intake.dropped == 1


class TestARecord:
    @given(
        st.text(max_size=255).filter(lambda text: text and text.isprintable()),
        st.floats(),
        st.none() | st.integers(-(2**63), 2**63 - 1),
    )
    def test_is_one_write_and_is_accepted(self, name: str, value: float, step: int | None):
        line = records._line(name, value, step, 0)
        assert line.endswith(b"}\n")
        assert len(line) <= contract.RECORD_MAX_BYTES
        assert record_of(line[:-1])
        read = jsonlite.loads(line)
        assert read["name"] == name
        assert read["step"] == step
        assert read["value"] == value or value != value

    @given(st.binary(max_size=200))
    def test_of_any_bytes_is_judged_without_failing(self, line: bytes):
        assert isinstance(record_of(line), dict | None)

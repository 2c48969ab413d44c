from __future__ import annotations

import math
import subprocess
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidSpec, StoreError
from orchestrator.metrics import MetricStore, Source
from orchestrator.metrics.collector import Collected, MetricCollector
from orchestrator.metrics.points import MAX_NAMES
from tests.unit.metrics.helpers import Program, append_log, append_records, record

LOSS = ("loss", r"loss: ([0-9.]+)")
LOG = Source(1, "algo-1", "log")
RECORDS = Source(1, "algo-1", "records")


class FixedClock:
    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self):
        return 0.0


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "algo-1"
    directory.mkdir()
    return directory


@pytest.fixture
def store(tmp_path):
    store = MetricStore(tmp_path / "metrics.sqlite3")
    yield store
    store.close()


def collector(store, directory, definitions=(LOSS,), **options):
    return MetricCollector(store, "job", directory, definitions, clock=FixedClock(), **options)


def values(store, name="loss"):
    return [point.value for point in store.curve("job", name).points]


class TestLog:
    def test_new_lines_are_read_as_they_come(self, store, directory):
        one = collector(store, directory)
        assert one.collect() == Collected()
        append_log(directory, b"start\nloss: 3\nloss: ", 1)
        assert one.collect() == Collected(points=1, lines=2)
        append_log(directory, b"2\nloss: 1", 2)
        assert one.collect() == Collected(points=1, lines=1)
        assert values(store) == [3, 2]
        assert one.collect(finished=True).points == 1
        assert values(store) == [3, 2, 1]
        assert one.collect(finished=True) == Collected()

    def test_points_carry_arrival_time_attempt_and_host(self, store, directory):
        append_log(directory, b"loss: 3\n", 1_000_000)
        append_log(directory, b"loss: 2\n", 2_000_000)
        collector(store, directory, attempt=2, host="algo-7").collect()
        assert [(p.time_us, p.source) for p in store.iterate("job")] == [
            (1_000_000, Source(2, "algo-7", "log")),
            (2_000_000, Source(2, "algo-7", "log")),
        ]

    def test_lines_whose_arrival_is_unknown_get_the_time_now(self, store, directory):
        (directory / "log").write_bytes(b"loss: 3\n")
        collector(store, directory).collect()
        assert store.last("job")["loss"].time == FixedClock().now()

    def test_without_definitions_the_log_is_not_read(self, store, directory):
        append_log(directory, b"loss: 3\n")
        assert collector(store, directory, ()).collect() == Collected()
        assert store.cursors("job") == {}

    def test_progress_is_counted_over_restarts_of_the_service(self, store, directory):
        append_log(directory, b"a\nloss: 1\nloss: .\n")
        collector(store, directory).collect()
        append_log(directory, b"b\n")
        collector(store, directory).collect()
        assert store.cursors("job")[LOG][1:] == (20, 4, 1)

    def test_a_wrong_definition_is_refused_before_anything_is_read(self, store, directory):
        with pytest.raises(InvalidSpec, match="metric 'm'"):
            collector(store, directory, [("m", "(")])

    def test_a_slow_expression_is_told(self, store, directory):
        append_log(directory, b"loss: 1\n" + b"a" * 60 + b"!\n")
        collected = collector(store, directory, [LOSS, ("bad", "^(a|aa)+$")]).collect()
        assert (collected.points, collected.too_slow) == (1, {"bad"})

    def test_half_a_million_lines_are_all_seen(self, store, directory):
        count = 500_000
        text = "".join(f"step {i} {'loss: 0.5' if i % 10 == 0 else 'no'}\n" for i in range(count))
        append_log(directory, text.encode(), 5)
        assert collector(store, directory).collect() == Collected(points=count // 10, lines=count)
        assert store.curve("job", "loss").count == count // 10

    def test_a_line_of_ten_megabytes_counts_once_and_hides_nothing(self, store, directory):
        append_log(directory, b"loss: 1 " + b"x" * 10_000_000 + b" loss: 2\nloss: 3\n")
        assert collector(store, directory).collect() == Collected(points=2, lines=2)
        assert values(store) == [1, 3]


class TestRecords:
    def test_records_become_points(self, store, directory):
        append_records(directory, *(record(value=3 - i, step=i, rank=i % 2) for i in range(3)))
        assert collector(store, directory).collect() == Collected(points=3, lines=3)
        assert [(p.value, p.step, p.rank) for p in store.iterate("job")] == [
            (3, 0, 0), (2, 1, 1), (1, 2, 0),
        ]  # fmt: skip

    def test_hostile_lines_are_counted_and_the_others_kept(self, store, directory):
        append_records(
            directory,
            b"garbage",
            record(value=1),
            b"\xff\xff",
            b"",
            record(kind="tensor"),
            record(name="x" * 9999),
            b"[" * 100_000,
            b"y" * 3_000_000,
            record(value=math.nan),
        )
        collected = collector(store, directory).collect()
        assert (collected.points, collected.rejected) == (2, 5)
        assert store.cursors("job")[RECORDS].rejected == 5

    def test_a_program_that_makes_up_names_is_limited(self, store, directory):
        append_records(directory, *(record(name=f"m{i}") for i in range(MAX_NAMES + 50)))
        assert collector(store, directory).collect().rejected == 50
        append_records(directory, record(name="new"), record(name="m7", value=9))
        assert collector(store, directory).collect().points == 1
        assert len(store.names("job")) == MAX_NAMES

    def test_log_and_records_feed_one_metric_without_clashing(self, store, directory):
        append_log(directory, b"loss: 3\n", 1)
        append_records(directory, record(value=2))
        collector(store, directory).collect()
        assert sorted(values(store)) == [2, 3]


class Crash(Exception):
    pass


class CrashingStore(MetricStore):
    """Stops before or after a commit, as a killed process would."""

    def __init__(self, path, crashes):
        super().__init__(path)
        self.crashes = list(crashes)

    def append(self, run, points, cursors=()):
        crash = self.crashes.pop(0) if self.crashes else None
        if crash == "before":
            raise Crash
        super().append(run, points, cursors)
        if crash == "after":
            raise Crash


pieces = st.lists(
    st.sampled_from([b"loss: 1\n", b"loss: 2\r", b"text\n", b"loss: .\n", b"lo", b"ss: 3", b"\n"]),
    max_size=12,
)
crashes = st.lists(st.sampled_from([None, "before", "after"]), max_size=12)


class TestExactlyOnce:
    @given(chunks=st.lists(pieces, max_size=6), crashes=crashes, late=st.booleans())
    @settings(max_examples=60)
    def test_whatever_moment_it_is_killed_nothing_is_lost_or_doubled(
        self, tmp_path_factory, chunks, crashes, late
    ):
        root = tmp_path_factory.mktemp("once")
        (root / "algo-1").mkdir()
        store = CrashingStore(root / "metrics.sqlite3", crashes)
        for number, chunk in enumerate(chunks):
            append_log(root / "algo-1", b"".join(chunk), number)
            append_records(root / "algo-1", record(name="r", value=number), b"garbage")
            if late:
                continue
            try:
                collector(store, root / "algo-1").collect()
            except Crash:
                continue
        while True:
            try:
                collector(store, root / "algo-1").collect(finished=True)
                break
            except Crash:
                continue
        calm = MetricStore(root / "calm.sqlite3")
        collector(calm, root / "algo-1").collect(finished=True)
        assert list(store.iterate("job")) == list(calm.iterate("job"))
        assert store.cursors("job") == calm.cursors("job")
        assert store.last("job") == calm.last("job")
        assert values(store, "r") == list(range(len(chunks)))
        store.close()
        calm.close()

    def test_two_collectors_at_once_do_no_harm(self, store, directory):
        first, second = collector(store, directory), collector(store, directory)
        for number in range(10):
            append_log(directory, b"loss: %d\n" % number, number)
            first.collect()
            second.collect()
        assert values(store) == list(range(10))

    def test_a_store_that_cannot_be_written_loses_nothing(self, store, directory):
        append_log(directory, b"loss: 1\n")
        one = collector(store, directory)
        store.close()
        with pytest.raises(StoreError):
            one.collect()
        again = MetricStore(directory.parent / "metrics.sqlite3")
        assert collector(again, directory).collect().points == 1
        again.close()

    def test_a_killed_process_goes_on_where_it_was(self, store, directory, tmp_path):
        count = 60_000
        append_log(directory, b"".join(b"loss: %d\n" % i for i in range(count)) * 3)
        program = (
            "import sys, pathlib\n"
            "from orchestrator.metrics import MetricStore\n"
            "from orchestrator.metrics.collector import MetricCollector\n"
            "store = MetricStore(pathlib.Path(sys.argv[1]))\n"
            "one = MetricCollector(store, 'job', pathlib.Path(sys.argv[2]), [('loss', 'loss: (.*)')])\n"
            "print('go', flush=True)\n"
            "one.collect(finished=True)\n"
        )
        for _ in range(4):
            killed = Program(program, tmp_path / "metrics.sqlite3", directory)
            killed.next_line()
            with pytest.raises(subprocess.TimeoutExpired):
                killed.process.wait(0.02)
            killed.kill()
        collector(store, directory).collect(finished=True)
        expected = list(range(count)) * 3
        assert [point.value for point in store.iterate("job")] == expected

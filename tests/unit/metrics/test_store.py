from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidSpec, StoreDamaged, StoreError
from orchestrator.metrics import Cursor, MetricStore, Source
from tests.unit.metrics.helpers import SOURCE, Program, point, points

HOST_2 = Source(1, "algo-2", "records")
ATTEMPT_2 = Source(2, "algo-1", "records")


@pytest.fixture
def store(tmp_path):
    store = MetricStore(tmp_path / "metrics.sqlite3")
    yield store
    store.close()


def values(curve):
    return [point.value for point in curve.points]


class TestPoints:
    def test_what_was_appended_is_given_back(self, store):
        given_points = [
            point(0.5, name="acc", position=3, step=-7, rank=2, time_us=1_790_000_000_123_456),
            *points([3, 2, 1]),
        ]
        store.append("job", given_points)
        assert list(store.iterate("job")) == given_points
        assert store.names("job") == ["acc", "loss"]

    def test_one_metric_is_given_by_attempt_and_in_order(self, store):
        second = [p._replace(source=p.source._replace(attempt=2)) for p in points([9, 8])]
        store.append("job", [*second, *points([3, 2, math.nan]), point(0.5, name="acc")])
        found = store.series("job", "loss")
        assert [(p.source.attempt, p.position) for p in found] == [
            (p.source.attempt, p.position) for p in (*points([3, 2, 1]), *second)
        ]
        assert math.isnan(found[2].value)
        assert store.series("job", "other") == store.series("none", "loss") == []

    def test_looking_where_nothing_was_written_yet_makes_no_file(self, store, tmp_path):
        """Else a process that is stopped while it makes the file would hold all others up."""
        assert (store.names("job"), store.last("job"), store.cursors("job")) == ([], {}, {})
        assert not (tmp_path / "metrics.sqlite3").exists()

    def test_runs_do_not_see_each_other(self, store):
        store.append("one", points([1]))
        store.append("two", points([2], name="other"))
        assert store.names("one") == ["loss"]
        assert values(store.curve("two", "loss")) == []
        assert list(store.iterate("none")) == []

    def test_the_same_chunk_twice_counts_once(self, store):
        for _ in range(2):
            store.append("job", points([3, 2, 1]), [Cursor(SOURCE, 30)])
        assert values(store.curve("job", "loss")) == [3, 2, 1]

    def test_values_that_are_not_finite_are_kept(self, store):
        store.append("job", points([1, math.nan, math.inf, -math.inf, 2]))
        assert str(values(store.curve("job", "loss"))) == "[1.0, nan, inf, -inf, 2.0]"
        assert str([p.value for p in store.iterate("job")]) == "[1.0, nan, inf, -inf, 2.0]"

    def test_a_last_value_of_nan_is_told(self, store):
        store.append("job", points([1, math.nan]))
        assert math.isnan(store.last("job")["loss"].value)

    def test_nothing_to_append_writes_nothing(self, store, tmp_path):
        store.append("job", [])
        assert not (tmp_path / "metrics.sqlite3").exists()


class TestCurves:
    def test_a_restarted_job_continues_its_curve(self, store):
        store.append("job", points([10, 11], source=ATTEMPT_2, time_us=5))
        store.append("job", points([1, 2], time_us=9))
        assert values(store.curve("job", "loss")) == [1, 2, 10, 11]

    def test_hosts_are_merged_by_time(self, store):
        store.append("job", [point(i, position=i, time_us=10 * i) for i in (0, 2, 4)])
        store.append("job", [point(i, position=i, time_us=10 * i, source=HOST_2) for i in (1, 3)])
        assert values(store.curve("job", "loss")) == [0, 1, 2, 3, 4]

    def test_a_clock_that_is_set_back_does_not_change_the_order_within_a_host(self, store):
        times = [100, 200, 50, 60]
        store.append("job", [point(i, position=i, time_us=t) for i, t in enumerate(times)])
        assert values(store.curve("job", "loss")) == [0, 1, 2, 3]
        assert store.last("job")["loss"].value == 3

    def test_nor_beside_another_host(self, store):
        times = [100, 200, 50, 60]
        store.append("job", [point(i, position=i, time_us=t) for i, t in enumerate(times)])
        store.append("job", [point(9, position=7, time_us=150, source=HOST_2)])
        assert [value for value in values(store.curve("job", "loss")) if value != 9] == [
            0,
            1,
            2,
            3,
        ]

    def test_one_rank_can_be_asked_for(self, store):
        store.append("job", [point(i, position=i, rank=i % 2) for i in range(6)])
        assert values(store.curve("job", "loss", rank=1)) == [1, 3, 5]
        assert values(store.curve("job", "loss", rank=7)) == []

    def test_the_x_axis_is_the_step_where_every_point_has_one(self, store):
        store.append("job", [point(i, position=i, step=i * 100) for i in range(3)])
        store.append("job", [point(i, position=i, name="b", step=None) for i in range(3)])
        assert store.curve("job", "loss").x == (0, 100, 200)
        assert store.curve("job", "b").x == (0, 1, 2)
        assert not store.curve("job", "none").has_steps

    def test_a_long_curve_is_thinned_out_and_keeps_its_peak(self, store):
        series = [math.sin(i / 50) for i in range(20_000)]
        series[12_345] = 99.0
        store.append("job", points(series))
        curve = store.curve("job", "loss", 200)
        assert curve.count == 20_000
        assert len(curve.points) <= 200
        assert max(values(curve)) == 99.0
        assert [series[i] for i in curve.indices] == values(curve)

    def test_too_few_points_are_refused(self, store):
        with pytest.raises(InvalidSpec, match="`max_points >= 10` must hold, got 9"):
            store.curve("job", "loss", 9)


class TestLast:
    def test_the_last_value_wins(self, store):
        store.append("job", points([3, 2, 1]))
        store.append("job", points([7, 8], name="acc"))
        assert {name: p.value for name, p in store.last("job").items()} == {"loss": 1, "acc": 8}

    def test_an_older_chunk_that_comes_late_does_not_win(self, store):
        store.append("job", [*points([1], time_us=9), point(2, position=50, time_us=10)])
        store.append("job", [point(5, position=20, time_us=11)])
        assert store.last("job")["loss"].value == 2

    def test_a_later_attempt_wins_whatever_the_clock_says(self, store):
        store.append("job", points([9], source=ATTEMPT_2, time_us=5))
        store.append("job", points([1], time_us=100))
        assert store.last("job")["loss"].value == 9

    def test_among_hosts_the_latest_wins(self, store):
        store.append("job", points([1], time_us=100))
        store.append("job", points([2], source=HOST_2, time_us=50))
        assert store.last("job")["loss"].value == 1
        store.append("job", [point(3, source=HOST_2, position=99, time_us=101)])
        assert store.last("job")["loss"].value == 3

    @given(
        chunks=st.lists(
            st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab")), min_size=1, max_size=5),
            min_size=1,
            max_size=8,
        ),
    )
    @settings(max_examples=30)
    def test_chunks_in_any_order_and_number_give_the_value_at_the_highest_position(
        self, tmp_path_factory, chunks
    ):
        store = MetricStore(tmp_path_factory.mktemp("m") / "metrics.sqlite3")
        for chunk in chunks:
            store.append("job", [point(i, position=i, name=name) for i, name in chunk])
        store.close()
        store = MetricStore(store._database._path)
        everything = [pair for chunk in chunks for pair in chunk]
        expected = {
            name: max(i for i, other in everything if other == name) for _, name in everything
        }
        assert {name: p.position for name, p in store.last("job").items()} == expected
        assert sum(1 for _ in store.iterate("job")) == len(set(everything))
        store.close()


class TestCursors:
    def test_they_come_back(self, store):
        cursors = [Cursor(SOURCE, 100, 5, 1), Cursor(HOST_2, 7)]
        store.append("job", points([1]), cursors)
        assert store.cursors("job") == {SOURCE: cursors[0], HOST_2: cursors[1]}
        assert store.cursors("other") == {}

    def test_they_never_move_back(self, store):
        store.append("job", [], [Cursor(SOURCE, 100, 5, 1)])
        store.append("job", [], [Cursor(SOURCE, 50, 3, 0)])
        assert store.cursors("job") == {SOURCE: Cursor(SOURCE, 100, 5, 1)}

    def test_points_and_cursors_are_kept_together_or_not_at_all(self, store):
        store.append("job", points([1]), [Cursor(SOURCE, 10)])
        with pytest.raises(OverflowError):
            store.append("job", [point(2, position=10)], [Cursor(SOURCE, 2**70)])
        assert [p.value for p in store.iterate("job")] == [1]
        assert store.cursors("job")[SOURCE].offset == 10


class TestDelete:
    def test_nothing_of_the_run_is_left_and_others_stay(self, store):
        store.append("job", points([1, 2]), [Cursor(SOURCE, 10)])
        store.append("other", points([3]))
        store.delete("job")
        store.delete("unknown")
        assert (store.names("job"), store.cursors("job"), store.last("job")) == ([], {}, {})
        assert [p.value for p in store.iterate("other")] == [3]

    def test_a_new_job_of_the_same_name_begins_anew(self, store):
        store.append("job", points([1, 2]))
        store.delete("job")
        store.append("job", points([7]))
        assert values(store.curve("job", "loss")) == [7]


class TestMany:
    def test_threads_may_append_and_read_at_once(self, store):
        errors = []

        def work(number):
            try:
                source = Source(1, f"algo-{number}", "records")
                for start in range(0, 300, 30):
                    chunk = [point(i, position=i, source=source) for i in range(start, start + 30)]
                    store.append("job", chunk, [Cursor(source, start + 30)])
                    store.curve("job", "loss", 10)
                    store.last("job")
            except Exception as error:  # noqa: BLE001 - told by the test
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert store.curve("job", "loss").count == 8 * 300

    def test_a_reader_sees_one_state_while_others_write(self, store):
        store.append("job", points([1] * 3000))
        seen = store.iterate("job")
        first = next(seen)
        store.append("job", [point(9, position=999_999)])
        store.delete("job")
        assert 1 + sum(1 for _ in seen) == 3000
        assert first.value == 1
        assert list(store.iterate("job")) == []

    def test_an_abandoned_iterator_blocks_nobody(self, store):
        store.append("job", points([1] * 3000))
        iterator = store.iterate("job")
        next(iterator)
        iterator.close()
        store.delete("job")
        assert store.names("job") == []

    def test_processes_that_start_at_once_share_one_file(self, tmp_path):
        path = tmp_path / "metrics.sqlite3"
        program = (
            "import sys, pathlib\n"
            "from orchestrator.metrics import *\n"
            "store, host = MetricStore(pathlib.Path(sys.argv[1])), sys.argv[2]\n"
            "source = Source(1, host, 'records')\n"
            "print('ready', flush=True)\n"
            "sys.stdin.readline()\n"
            "for i in range(50):\n"
            "    point = MetricPoint('loss', i, i, None, None, source, i)\n"
            "    store.append('job', [point], [Cursor(source, i)])\n"
            "store.close()\n"
        )
        programs = [Program(program, path, f"algo-{number}") for number in range(6)]
        for one in programs:
            one.next_line()
        for one in programs:
            one.go()
        assert [one.wait() for one in programs] == [0] * 6
        store = MetricStore(path)
        assert store.curve("job", "loss").count == 300
        store.close()


KILLED = """
import sys, pathlib
from orchestrator.metrics import *
store = MetricStore(pathlib.Path(sys.argv[1]))
source = Source(1, "algo-1", "records")
done = store.cursors("job").get(source, Cursor(source, 0)).offset
while True:
    chunk = [MetricPoint("loss", i, i, i, 0, source, i) for i in range(done, done + 100)]
    done += 100
    store.append("job", chunk, [Cursor(source, done)])
    print(done, flush=True)
"""


class TestFaults:
    def test_a_killed_writer_loses_and_doubles_nothing(self, tmp_path):
        path = tmp_path / "metrics.sqlite3"
        for _ in range(5):
            program = Program(KILLED, path)
            acknowledged = [int(program.next_line()) for _ in range(20)][-1]
            program.kill()
            store = MetricStore(path)
            done = store.cursors("job")[SOURCE].offset
            assert done >= acknowledged
            assert [p.position for p in store.iterate("job")] == list(range(done))
            assert store.last("job")["loss"].position == done - 1
            store.close()

    def test_a_file_that_is_no_database_is_named(self, tmp_path):
        path = tmp_path / "metrics.sqlite3"
        path.write_bytes(b"this is not a database at all" * 100)
        with pytest.raises(StoreDamaged, match=r"metrics\.sqlite3 must be a SQLite database"):
            MetricStore(path).names("job")

    def test_a_damaged_page_is_named_and_nothing_is_made_up(self, tmp_path):
        path = tmp_path / "metrics.sqlite3"
        store = MetricStore(path)
        store.append("job", points(range(5000)))
        store.close()
        data = bytearray(path.read_bytes())
        for page in range(4096, len(data), 4096):
            data[page : page + 100] = b"\xff" * 100
        path.write_bytes(data)
        with pytest.raises(StoreDamaged, match="move the file away"):
            list(MetricStore(path).iterate("job"))

    def test_a_newer_format_is_refused(self, tmp_path):
        path = tmp_path / "metrics.sqlite3"
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(StoreError, match="must have format 2, got 99"):
            MetricStore(path).names("job")

    def test_a_missing_directory_is_named(self, tmp_path):
        with pytest.raises(StoreError, match="unable to open database file"):
            MetricStore(tmp_path / "none" / "metrics.sqlite3").append("job", points([1]))

    def test_a_closed_store_says_so(self, store):
        store.names("job")
        store.close()
        with pytest.raises(StoreError, match="must be open"):
            store.names("job")

    def test_a_full_disk_is_named_and_what_was_kept_stays(self, tmp_path):
        program = (
            "import resource, signal, sys, pathlib\n"
            "from orchestrator.errors import StoreError\n"
            "from orchestrator.metrics import *\n"
            "store = MetricStore(pathlib.Path(sys.argv[1]))\n"
            "source = Source(1, 'algo-1', 'records')\n"
            "def append(start, count):\n"
            "    many = range(start, start + count)\n"
            "    store.append('job', [MetricPoint('a', i, i, i, 0, source, i) for i in many],\n"
            "                 [Cursor(source, start + count)])\n"
            "append(0, 100)\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))\n"
            "try:\n"
            "    append(100, 100_000)\n"
            "except StoreError as error:\n"
            "    print(error)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
            "append(100, 50)\n"
        )
        path = tmp_path / "metrics.sqlite3"
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
        )
        assert "free space" in done.stdout
        store = MetricStore(path)
        assert (store.curve("job", "a").count, store.cursors("job")[SOURCE].offset) == (150, 150)
        store.close()

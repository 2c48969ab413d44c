from __future__ import annotations

import csv
import math
import sys

import pytest

from orchestrator.errors import InvalidSpec, Unavailable
from orchestrator.metrics import MetricStore, Source
from orchestrator.metrics.export import COLUMNS, export_points
from tests.unit.metrics.helpers import point, points

HOST_2 = Source(2, "algo-2", "log")


@pytest.fixture
def written():
    return [
        point(
            0.5,
            name='a "quoted", name',
            position=1,
            step=10,
            rank=3,
            time_us=1_790_000_000_000_001,
        ),
        *points([1, math.nan, math.inf], source=HOST_2),
    ]


def test_csv_holds_every_point(written, tmp_path):
    path = tmp_path / "metrics.csv"
    assert export_points(iter(written), path, "csv") == 4
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(COLUMNS)
    assert rows[1] == [
        'a "quoted", name', "10", "2026-09-21T14:13:20.000001+00:00", "0.5", "3", "algo-1", "1",
    ]  # fmt: skip
    assert [row[3] for row in rows[2:]] == ["1.0", "nan", "inf"]
    assert rows[2][1] == rows[2][4] == ""


def test_parquet_holds_every_point_with_its_types(written, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "metrics.parquet"
    assert export_points(iter(written), path, "parquet") == 4
    table = parquet.read_table(path)
    rows = table.to_pylist()
    assert tuple(table.column_names) == COLUMNS
    assert rows[0] == {
        "name": 'a "quoted", name',
        "step": 10,
        "time": written[0].time,
        "value": 0.5,
        "rank": 3,
        "host": "algo-1",
        "attempt": 1,
    }
    assert [str(row["value"]) for row in rows[1:]] == ["1.0", "nan", "inf"]
    assert rows[1]["step"] is None


def test_a_parquet_file_of_many_points_is_written_in_groups(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "metrics.parquet"
    export_points(points([i / 7 for i in range(25_000)]), path, "parquet")
    file = parquet.ParquetFile(path)
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (25_000, 3)
    assert file.read().column("value").to_pylist() == [i / 7 for i in range(25_000)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_written(written, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert export_points(iter(written), tmp_path, "tensorboard") == 4
    runs = sorted(path.name for path in tmp_path.iterdir())
    assert runs == ["attempt-1-algo-1-rank-3", "attempt-2-algo-2"]
    events = EventAccumulator(str(tmp_path / runs[0])).Reload().Scalars('a "quoted", name')
    assert [(e.step, e.value, e.wall_time) for e in events] == [(10, 0.5, 1_790_000_000.000001)]
    events = EventAccumulator(str(tmp_path / runs[1])).Reload().Scalars("loss")
    assert [(e.step, str(e.value)) for e in events] == [(0, "1.0"), (1, "nan"), (2, "inf")]


def test_steps_that_start_again_in_a_later_attempt_hide_nothing(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = [0, 1, 2, 1, 2, 3]
    export_points(
        [point(i, position=i, step=s) for i, s in enumerate(steps)], tmp_path, "tensorboard"
    )
    (run,) = tmp_path.iterdir()
    assert [e.step for e in EventAccumulator(str(run)).Reload().Scalars("loss")] == steps


@pytest.mark.parametrize("file_format", ["csv", "parquet", "tensorboard"])
def test_a_run_without_points_gives_a_valid_empty_export(tmp_path, file_format):
    pytest.importorskip("pyarrow")
    assert export_points([], tmp_path / "out", file_format) == 0


@pytest.mark.parametrize(
    ("package", "file_format"), [("pyarrow", "parquet"), ("tensorboard", "tensorboard")]
)
def test_a_missing_package_is_named_with_the_extra(monkeypatch, tmp_path, package, file_format):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unavailable, match=rf"needs the package {package}.*orchestrator\[export\]"):
        export_points([], tmp_path / "out", file_format)


def test_another_format_is_refused(tmp_path):
    with pytest.raises(InvalidSpec, match="must be one of csv, parquet, tensorboard, got 'xml'"):
        export_points([], tmp_path / "out", "xml")


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_an_export_that_fails_halfway_leaves_the_file_as_it_was(tmp_path, file_format):
    pytest.importorskip("pyarrow")

    def broken():
        yield from points([1, 2])
        raise RuntimeError("the store went away")

    path = tmp_path / "out"
    path.write_text("before")
    with pytest.raises(RuntimeError, match="went away"):
        export_points(broken(), path, file_format)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out", "before")]


def test_a_store_is_exported_while_it_is_written(tmp_path):
    store = MetricStore(tmp_path / "metrics.sqlite3")
    store.append("job", points(range(5000)))
    assert export_points(store.iterate("job"), tmp_path / "out.csv", "csv") == 5000
    store.close()

"""Values that come by a call: kept with their counts, all of a call or none, read by periods."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import LimitExceeded
from orchestrator.metrics import MetricStore
from orchestrator.metrics.periods import LARGEST, Sums, Window
from orchestrator.metrics.points import Batch, GivenValue
from orchestrator.metrics.series import Wanted
from tests.unit.metrics.helpers import points

SECOND = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MetricStore]:
    store = MetricStore(tmp_path / "metrics.sqlite3")
    yield store
    store.close()


def put(store: MetricStore, *values: GivenValue, run: str = "run") -> None:
    store.put([Batch(run, 1, values)])


def window(name: str = "m", end_us: int = 100 * SECOND) -> Window:
    return Window("run", name, 0, end_us, 10 * SECOND)


def test_a_value_weighs_its_count(store: MetricStore) -> None:
    put(store, GivenValue("m", 1.0, 5, samples=3000), GivenValue("m", 5.0, 6, samples=0.5))
    assert store.sums(window()) == [Sums(0, None, 3000.5, 3002.5, 1.0, 5.0)]
    (period,) = store.values(window())
    assert (list(period.values), list(period.counts)) == ([1.0, 5.0], [3000.0, 0.5])


def test_a_count_costs_one_row(store: MetricStore, tmp_path: Path) -> None:
    put(store, GivenValue("m", 1.0, 5, samples=1e9))
    with sqlite3.connect(tmp_path / "metrics.sqlite3") as connection:
        assert connection.execute("SELECT count(*) FROM points").fetchone() == (1,)
    connection.close()


def test_the_same_value_by_two_calls_counts_twice(store: MetricStore) -> None:
    for _ in range(2):
        put(store, GivenValue("m", 1.0, 5), GivenValue("m", 1.0, 5))
    assert store.sums(window())[0].samples == 4


def test_periods_and_units_are_apart(store: MetricStore) -> None:
    put(
        store,
        GivenValue("m", 1.0, 5),
        GivenValue("m", 2.0, 5, unit="Seconds"),
        GivenValue("m", 3.0, 10 * SECOND),
        GivenValue("m", 4.0, 20 * SECOND),
    )
    found = store.sums(window(end_us=20 * SECOND))
    assert [(each.begin_us, each.unit, each.total) for each in found] == [
        (0, None, 1.0),
        (0, "Seconds", 2.0),
        (10 * SECOND, None, 3.0),
    ]


def test_no_sum_is_beyond_a_float(store: MetricStore) -> None:
    """What a job printed may be; of what is beyond 2^360 nothing is told."""
    store.append("run", points([1e308, 1e308, float("nan"), float("inf"), 1.0], name="m"))
    assert store.sums(window()) == [Sums(0, None, 1.0, 1.0, 1.0, 1.0)]
    put(store, *(GivenValue("m", LARGEST, 15 * SECOND, samples=LARGEST) for _ in range(1000)))
    assert store.sums(window())[1].total == 1000 * LARGEST * LARGEST


def test_all_of_a_call_is_kept_or_nothing(store: MetricStore) -> None:
    put(store, GivenValue("a", 1.0, 5), run="second")
    batches = [
        Batch("first", 1, [GivenValue("a", 1.0, 5)]),
        Batch("second", 1, [GivenValue("a", 2.0, 5), GivenValue("b", 1.0, 5)]),
    ]
    with pytest.raises(LimitExceeded, match=r"at most 1 metrics, and 'second' .*'b'"):
        store.put(batches, most_names=1)
    assert (store.names("first"), store.names("second")) == ([], ["a"])
    assert store.last("second")["a"].value == 1.0


def test_values_are_kept_where_there_is_room(store: MetricStore) -> None:
    values = [GivenValue(name, 1.0, 5) for name in ("a", "b", "c", "a")]
    assert store.put_where_room(Batch("run", 1, values), most_names=2) == [2]
    assert store.names("run") == ["a", "b"]
    assert store.put_where_room(Batch("run", 1, values[2:]), most_names=2) == [0]


def test_every_series_is_listed_once_from_any_place_on(store: MetricStore) -> None:
    names = ["a", "a b", "a!", "B", "é", "z", '["a"', "_", "\U0001f600"]
    for run in ("job", "Job", "cloudwatch:x"):
        put(store, *(GivenValue(name, 1.0, 5) for name in names), run=run)
    found: list[tuple[str, str]] = []
    while block := store.listed(Wanted(), found[-1] if found else None, 4):
        found += block
    assert len(found) == len(set(found)) == 3 * len(names)
    assert store.listed(Wanted(run="job", name="é"), None, 9) == [("job", "é")]
    narrow = Wanted(name="a", name_prefix='["a"', without="cloudwatch:", since_us=5)
    assert store.listed(narrow, None, 9) == [
        ("Job", '["a"'), ("Job", "a"), ("job", '["a"'), ("job", "a")
    ]  # fmt: skip
    assert store.listed(Wanted(since_us=6), None, 9) == []


def test_old_values_of_some_runs_are_removed(store: MetricStore) -> None:
    for run in ("other:x", "other:y", "job"):
        put(store, GivenValue("old", 1.0, 5), GivenValue("both", 1.0, 5), run=run)
        put(store, GivenValue("both", 1.0, 10), run=run)
    assert store.count_before("other:", 10) == {"other:x": 2, "other:y": 2}
    store.remove_before("other:", 10)
    assert store.count_before("other:", 10) == {}
    assert [store.names(run) for run in ("other:x", "job")] == [["both"], ["both", "old"]]
    assert store.sums(Window("other:x", "both", 0, 100, 100)) == [Sums(0, None, 1, 1, 1, 1)]


def test_a_file_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sqlite3"
    MetricStore(path).append("run", points([1, 2], name="m"))
    with sqlite3.connect(path) as connection:
        for column in ("count", "unit"):
            connection.execute(f"ALTER TABLE points DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    store = MetricStore(path)
    assert store.sums(window()) == [Sums(0, None, 2, 3, 1, 2)]
    put(store, GivenValue("m", 5.0, 5, samples=2))
    assert store.sums(window())[0].total == 13
    store.close()

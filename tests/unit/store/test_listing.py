"""Lists over thousands of jobs, through every path of the planner, against plain Python."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.store import accept, cursor, name_blocks, rules, tables
from orchestrator.store.base import ListQuery, SortBy
from orchestrator.store.listing import Reader
from orchestrator.store.listing_sqlite import SqliteReader
from orchestrator.store.names import USED_RUNS, most_telling
from orchestrator.store.records import SpecCache
from orchestrator.store.sql import open_store
from orchestrator.store.sqlite import SqliteDatabase
from orchestrator.testing.store_jobs import (
    SCOPE,
    START,
    SetClock,
    ended,
    make_spec,
    take_over,
)
from orchestrator.testing.store_lists import expected

JOBS = 3500
ENDS = (EndReason.COMPLETED, EndReason.EXIT_CODE, EndReason.USER_STOP)
WORDS = ("train", "tune", "bert", "resnet", "a", "zz")


class Impatient(SqliteReader):
    """Takes what is few, and turns, to be tiny, so that small stores go every way."""

    few = 3
    few_neighbours = 3
    first_turn = 2
    probe = 2


def names(chance: random.Random) -> list[str]:
    """Half of the names in order of creation, half at random."""
    ordered = [f"job-{place:05d}" for place in range(JOBS // 2)]
    mixed = [
        f"{chance.choice(WORDS)}-{chance.choice(WORDS)}-{place:x}" for place in range(JOBS // 2)
    ]
    together = [*ordered, *mixed]
    chance.shuffle(mixed)
    return together


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[SqliteDatabase, list[TrainingJobRecord]]]:
    chance = random.Random(11)
    path = tmp_path_factory.mktemp("listing") / "store.sqlite3"
    clock = SetClock()
    store = open_store(path, clock=clock)
    database = SqliteDatabase(path)
    specs = SpecCache()
    batch = []
    for place, name in enumerate(names(chance)):
        clock.move(-600 if place == JOBS // 3 else 1)
        batch.append(
            accept.submission(
                make_spec(name), arn=name, now=clock.now(), idempotency=None, notes=None
            )
        )
    for start in range(0, len(batch), 50):
        part = batch[start : start + 50]
        database.write(
            partial(lambda part, c, _: accept.accept(c, part, specs), part), durable=False
        )
    lease = take_over(store)
    clock.move(1000)
    updates = []
    for job in store.active_jobs(SCOPE, ["process"]):
        if chance.random() < 0.4:
            early = job.number < JOBS // 2  # statuses and times cluster, as they do in life
            reason = ENDS[0] if early and chance.random() < 0.9 else chance.choice(ENDS)
            updates.append(ended(job, reason, durable=False))
    for start in range(0, len(updates), 10):
        clock.move(10)
        assert all(store.apply(updates[start : start + 10], lease))
    jobs = sorted(store.active_jobs(SCOPE, ["process"]), key=lambda job: job.number)
    known = {job.number for job in jobs}
    gone = [row for row in _all(store) if row.number not in known]
    jobs += [store.get_job(row.name) for row in gone]
    yield database, sorted(jobs, key=lambda job: job.number)
    database.close()
    store.close()


def _all(store: Any) -> list[Any]:
    query, rows = ListQuery(limit=1000), []
    while True:
        page = store.list_jobs(query)
        rows += page.jobs
        if page.next_cursor is None:
            return rows
        query = ListQuery(limit=1000, cursor=page.next_cursor)


TERMS = ("job", "job-0", "job-01", "-0", "9", "a", "zz-", "bert-resnet", "train", "e-t", "ob-017")
moments = st.one_of(st.none(), st.integers(-700, 8000).map(lambda s: START + timedelta(seconds=s)))
queries = st.builds(
    ListQuery,
    name_contains=st.one_of(st.none(), st.sampled_from(TERMS)),
    status_equals=st.one_of(st.none(), st.sampled_from(TrainingJobStatus)),
    created_after=moments,
    created_before=moments,
    modified_after=moments,
    modified_before=moments,
    sort_by=st.sampled_from(SortBy),
    descending=st.booleans(),
    limit=st.sampled_from([1, 7, 100]),
)


@pytest.mark.parametrize("kind", [Reader, SqliteReader, Impatient])
def test_every_path_finds_what_python_finds(
    filled: tuple[SqliteDatabase, list[TrainingJobRecord]], kind: type[Reader]
) -> None:
    database, jobs = filled

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(query=queries, start=st.integers(0, JOBS))
    def check(query: ListQuery, start: int) -> None:
        wanted = expected(jobs, query)
        position: cursor.Position | None = None
        if 0 < start < len(wanted):
            last = next(job for job in jobs if job.name == wanted[start - 1])
            positions: dict[SortBy, cursor.Position] = {
                SortBy.NAME: [rules.name_key(last.name)],
                SortBy.CREATION_TIME: [last.number],
                SortBy.STATUS: [last.status.value, last.number],
            }
            position = positions[query.sort_by]
            wanted = wanted[start:]
        with database.read() as connection:
            rows = kind(connection).page(query, position)
        assert [row["name"] for row in rows] == wanted[: query.limit + 1]

    check()


@pytest.mark.parametrize(
    ("term", "telling"),
    [
        ("job-017", {"-01", "017"}),  # what only the last of the numbered names have
        ("job-008", {"-00", "008"}),  # the first
        ("ob-0123", {"-01", "012"}),  # some between
    ],
)
def test_a_term_is_searched_by_what_few_names_have_wherever_they_lie(
    filled: tuple[SqliteDatabase, list[TrainingJobRecord]], term: str, telling: set[str]
) -> None:
    database, _ = filled
    with database.read() as connection:
        used = Impatient(connection)._grams(term).replace('"', "").split(" AND ")
    assert telling <= set(used)
    assert len(used) <= USED_RUNS


@pytest.mark.parametrize(
    ("gaps", "used"),
    [
        (
            {"com": (9, 9), "new": (900, 9), "old": (9, 950), "mid": (40, 40)},
            ["old", "mid", "new"],
        ),
        ({"aaa": (9, 9), "bbb": (9, 9), "ccc": (9, 10)}, ["ccc", "aaa"]),
        ({"aaa": (9, 9), "bbb": None, "ccc": None}, ["bbb"]),
        ({run: (place, 9) for place, run in enumerate("abcdefgh", 20)}, ["h", "g", "f", "e"]),
    ],
)
def test_the_most_telling_runs_are_rare_at_one_end_or_at_both(
    gaps: dict[str, tuple[int, int] | None], used: list[str]
) -> None:
    assert most_telling(gaps)[: len(used)] == used
    assert len(most_telling(gaps)) <= USED_RUNS


def test_the_index_that_gets_further_takes_the_longer_turns(
    filled: tuple[SqliteDatabase, list[TrainingJobRecord]],
) -> None:
    database, jobs = filled
    sizes: dict[str, list[int]] = {}

    class Watched(Impatient):
        def _candidates(self, path: Any, want: Any, grams: str | None, size: int) -> list[int]:
            sizes.setdefault(path.number, []).append(size)
            return super()._candidates(path, want, grams, size)

    ended_well = [job for job in jobs if job.status is TrainingJobStatus.COMPLETED]
    query = ListQuery(name_contains="17", status_equals=TrainingJobStatus.COMPLETED, limit=1000)
    wanted = expected(ended_well, query)
    with database.read() as connection:
        rows = Watched(connection).page(query, None)
    assert [row["name"] for row in rows] == wanted
    by_term, by_status = sizes["job_grams.rowid"], sizes["jobs.number"]
    assert max(by_term) > max(by_status) >= Impatient.first_turn


def test_blocks_of_names_are_split_and_cover_all_names(
    filled: tuple[SqliteDatabase, list[TrainingJobRecord]],
) -> None:
    database, jobs = filled

    database.write(partial(split_small, jobs), durable=False)
    with database.read() as connection:
        for descending in (False, True):
            parts = list(
                name_blocks.stretches(
                    connection, name_blocks.Filter(), descending=descending, start=None
                )
            )
            if descending:
                parts.reverse()
            assert parts[0].first == ""
            assert parts[-1].end is None
            assert [part.end for part in parts[:-1]] == [part.first for part in parts[1:]]
        count = connection.exec_driver_sql("SELECT count(*) FROM name_blocks").scalar_one()
    assert count > JOBS / 40
    for kind in (SqliteReader, Impatient):
        test_every_path_finds_what_python_finds(filled, kind)


def check_blocks(database: SqliteDatabase, jobs: list[TrainingJobRecord]) -> None:
    """Check that no block says too little of the names in it."""
    with database.read() as connection:
        blocks = connection.execute(
            select(tables.name_blocks).order_by(tables.name_blocks.c.first_key)
        ).all()
    firsts = [block.first_key for block in blocks]
    for job in jobs:
        key = rules.name_key(job.name)
        block = blocks[bisect.bisect_right(firsts, key) - 1]
        assert block.first_number <= job.number <= block.last_number
        held = int.from_bytes(block.grams, "big")
        wanted = int.from_bytes(name_blocks.bits(name_blocks.runs_of(key)), "big")
        assert held & wanted == wanted


def test_blocks_hold_what_their_names_have(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    store = open_store(path)
    database = SqliteDatabase(path)
    chance = random.Random(3)
    jobs: list[TrainingJobRecord] = []
    for round_ in range(40):
        batch = [
            accept.submission(
                make_spec(f"{chance.randrange(36**9):x}-{round_}-{place}"),
                arn="a",
                now=START,
                idempotency=None,
                notes=None,
            )
            for place in range(10)
        ]
        jobs += [job for job in store._commit(batch) if isinstance(job, TrainingJobRecord)]
        if round_ % 10 == 9:  # before and after blocks are split
            check_blocks(database, jobs)
            database.write(partial(split_small, jobs), durable=False)
    check_blocks(database, jobs)
    assert len(jobs) == 400
    database.close()
    store.close()


def split_small(jobs: list[TrainingJobRecord], connection: Connection, _: bool) -> None:
    """Split blocks until each has few names."""
    for job in jobs:
        name_blocks.split_if_large(connection, rules.name_key(job.name), largest=40)


def test_stretches_without_the_runs_of_a_term_are_skipped(
    filled: tuple[SqliteDatabase, list[TrainingJobRecord]],
) -> None:
    database, jobs = filled
    wanted = name_blocks.Filter(frozenset({"zz-"}))
    with database.read() as connection:
        parts = list(name_blocks.stretches(connection, wanted, descending=False, start=None))
    keys = [rules.name_key(job.name) for job in jobs]
    covered = [
        key
        for key in keys
        if any(part.first <= key and (part.end is None or key < part.end) for part in parts)
    ]
    assert {key for key in keys if "zz-" in key} <= set(covered)
    assert len(covered) < len(keys)


def test_random_suffixes_do_not_hide_that_a_block_lacks_a_word() -> None:
    chance = random.Random(5)
    names = [
        f"train-bert-2026{chance.randrange(10**4):04}-{chance.randrange(10**6):06}-"
        f"{chance.randrange(16**4):04x}"
        for _ in range(name_blocks.LARGEST)
    ]
    held = int.from_bytes(name_blocks.bits(set().union(*map(name_blocks.runs_of, names))), "big")
    others = [a + b + c for a, b, c in itertools.permutations("ghijklmnop", 3)]
    hidden = sum(not int.from_bytes(name_blocks.bits([run]), "big") & ~held for run in others)
    assert hidden < len(others) / 50

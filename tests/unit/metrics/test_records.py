from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.contract import RECORDS_VARIABLE

from orchestrator.metrics import MetricPoint
from orchestrator.metrics.records import NoPoint, parse_record
from tests.unit.metrics.helpers import SOURCE, record


def parse(line):
    return parse_record(line, SOURCE, 7)


def test_a_record_of_the_runtime_becomes_a_point():
    line = (
        b'{"kind":"metric","name":"train:loss","value":0.12,"step":10,'
        b'"time":1790000000.123,"rank":3}'
    )
    assert parse(line) == MetricPoint("train:loss", 0.12, 1_790_000_000_123_000, 10, 3, SOURCE, 7)


def test_what_programs_really_send_is_understood(tmp_path):
    fifo = tmp_path / "records"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    program = (
        "from orchestrator_runtime import report_metric\n"
        "report_metric('validation:é', 0.97, step=3)\n"
        "report_metric('loss', float('nan'))\n"
        "report_metric('loss', float('-inf'), step=-2)\n"
    )
    environment = {**os.environ, RECORDS_VARIABLE: str(fifo), "RANK": "2"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    lines = os.read(reader, 65536).splitlines()
    os.close(reader)
    points = [parse(line) for line in lines]
    assert [(p.name, str(p.value), p.step, p.rank) for p in points] == [
        ("validation:é", "0.97", 3, 2),
        ("loss", "nan", None, 2),
        ("loss", "-inf", -2, 2),
    ]


def test_step_and_rank_may_be_missing():
    point = parse(b'{"kind":"metric","name":"a","value":1,"time":5}')
    assert (point.step, point.rank) == (None, None)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_values_that_are_not_finite_are_kept(text):
    point = parse(record().replace(b"0.5", text.encode()))
    assert not math.isfinite(point.value)


def test_records_of_another_kind_are_left_to_others():
    assert parse(record(kind="tensor")) is NoPoint.OTHER


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"[]",
        b"3",
        b'"metric"',
        b"{}",
        b'{"kind":["metric"]}',
        b"\xff\xfe{}",
        "{}".encode("utf-16"),
        b"[" * 4000,
        b'{"a":' * 800,
        record(name=""),
        record(name="x" * 256),
        record(name="a\nb"),
        record(name="a\x1b[31m"),
        record(name="\ud800"),
        record(name=None),
        record(name=["loss"]),
        record(value=True),
        record(value="0.5"),
        record(value=None),
        record(value=[0.5]),
        record(value=10**400),
        record(step=1.5),
        record(step="1"),
        record(step=True),
        record(step=2**63),
        record(rank=-1),
        record(rank=2**31),
        record(rank=0.0),
        record(time=None),
        record(time=-1),
        record(time=1e300),
        record(time=math.nan),
        record(time=math.inf),
        record(time="now"),
        record().replace(b"0.5", b"1" * 4500),
        record(name="x" * 5000),
    ],
)
def test_what_is_wrong_is_rejected(line):
    assert parse(line) is NoPoint.REJECTED


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "kind": st.just("metric") | anything,
            "name": st.text(min_size=1) | anything,
            "value": st.floats() | anything,
            "step": st.integers() | anything,
            "time": st.floats(0, 1e10) | anything,
            "rank": st.integers(0, 100) | anything,
        },
    )
)
def test_no_object_makes_it_fail_and_every_point_fits_the_store(record):
    point = parse(json.dumps(record).encode())
    if isinstance(point, MetricPoint):
        assert 0 < len(point.name) <= 255
        assert point.step is None or -(2**63) <= point.step < 2**63
        assert 0 <= point.time_us < 2**63


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(line):
    parse(line)

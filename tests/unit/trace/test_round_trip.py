from __future__ import annotations

import math
import re
import struct
import sys
from array import array as numbers
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.trace import Gpu, Reader, StepRecord, SystemSample, Writer, read_trace
from orchestrator_runtime.trace import format as form
from orchestrator_runtime.trace.record import Array, Block, Table, Tensor

README = Path(form.__file__).with_name("README.md")
singles = st.floats(width=32, allow_nan=False)
doubles = st.floats(allow_nan=False)
names = st.text(max_size=6)
roles = st.sampled_from(["matrix", "vector", "scale", "embedding", "relu"])
tensors = st.builds(
    Tensor, names, st.lists(st.integers(0, 9), max_size=3).map(tuple), roles, st.booleans()
)
tables = st.builds(Table, names, st.integers(0, 3), st.lists(tensors, max_size=10).map(tuple))


@st.composite
def records(draw, known):
    blocks = {}
    for table in draw(st.lists(st.sampled_from(known), max_size=3, unique_by=id)):
        size = len(table.tensors)
        values = draw(st.lists(st.none() | singles, min_size=size, max_size=size))
        blocks[f"{table.collection}/{draw(names)}"] = Block(table, values)
    return StepRecord(
        draw(st.integers(-(2**63), 2**63 - 1)),
        draw(doubles),
        draw(st.integers(0, 0xFFFF)),
        skipped=draw(st.booleans()),
        scalars=draw(st.dictionaries(names, doubles, max_size=4)),
        blocks=blocks,
    )


@st.composite
def arrays(draw):
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    data = draw(st.binary(min_size=2 * math.prod(shape), max_size=2 * math.prod(shape)))
    return Array(draw(names), draw(names), draw(st.integers(0, 9)), "float16", shape, data)


samples = st.builds(
    SystemSample,
    doubles,
    st.none() | singles,
    st.none() | singles,
    st.lists(st.builds(Gpu, singles, singles), max_size=9).map(tuple),
    st.none() | doubles,
    st.none() | st.integers(0, 2**63 - 1),
    st.none() | st.integers(1, 0xFFFF),
    st.none() | st.integers(0, 0x7FFF),
)
events = st.dictionaries(names, names, max_size=2).map(lambda rest: {**rest, "event": "note"})


@st.composite
def runs(draw):
    known = draw(st.lists(tables, min_size=1, max_size=3))
    items = records(known) | arrays() | samples | events
    return draw(st.lists(items, max_size=8))


def write(path, items, **options):
    writer = Writer(str(path), **options)
    for item in items:
        if isinstance(item, StepRecord):
            writer.step(item)
        elif isinstance(item, Array):
            writer.array(item)
        elif isinstance(item, SystemSample):
            writer.system(item)
        else:
            writer.event(**item)
    writer.close()
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A new file for each example of a property."""
    directory = tmp_path_factory.mktemp("traces")
    count = iter(range(1_000_000))
    return lambda: directory / f"{next(count)}.trace"


def content(place, items):
    path = place()
    write(path, items)
    data = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    return data


def read(place, data):
    """What is read of a file, and its damage."""
    path = place()
    path.write_bytes(data)
    reader = Reader(str(path))
    items = list(reader.read())
    path.unlink()
    return items, reader.damage


@given(items=runs())
def test_what_is_written_is_read(place, items):
    found, damage = read(place, content(place, items))
    assert damage is None
    assert found == items


@given(items=runs(), share=st.floats(0, 1))
def test_a_torn_file_gives_all_whole_items_and_goes_on_when_it_grows(place, items, share):
    data = content(place, items)
    cut = int(share * len(data))
    path = place()
    path.write_bytes(data[:cut])
    reader = Reader(str(path))
    first = list(reader.read())
    assert (first, reader.damage) == (items[: len(first)], None)
    assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(data[cut:])
    assert first + list(reader.read()) == items
    path.unlink()


@given(items=runs(), at=st.integers(0), change=st.integers(1, 255))
def test_a_damaged_byte_never_gives_a_wrong_item(place, items, at, change):
    data = bytearray(content(place, items))
    if not data:
        return
    data[at % len(data)] ^= change
    found, damage = read(place, bytes(data))
    assert found == items[: len(found)]
    assert damage is not None or len(found) < len(items)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(
    ["event", "table", "series", "tensors", "collection", "optimizer", "name", "scalar"]
)
known_events = st.dictionaries(members, json_values | st.sampled_from(["table", "series"]))


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.binary(max_size=60))
        | st.tuples(st.just(form.JSON), known_events.map(form.json_payload)),
        max_size=6,
    )
)
def test_frames_that_make_no_sense_end_the_reading(place, frames):
    data = form.MAGIC + b"".join(form.frame(kind, payload) for kind, payload in frames)
    read(place, data)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_without_an_error(place, data):
    items, damage = read(place, data)
    if len(data) >= 8 and not data.startswith(form.MAGIC):
        assert (items, damage) == ([], "this is no trace file of format 1")


def test_a_frame_of_a_later_version_is_left_out(place):
    data = form.MAGIC + form.frame(77, b"?") + form.frame(form.JSON, b'{"event":"x"}')
    assert read(place, data) == ([{"event": "x"}], None)


def test_so_is_what_a_later_version_adds_to_a_sample(place):
    sample = SystemSample(1.0, gpus=(Gpu(1.0, 2.0),))
    data = form.MAGIC + form.frame(form.SYSTEM, form.pack_system(sample) + b"more")
    assert read(place, data) == ([sample], None)


@pytest.mark.parametrize("gpus", [0, 1, 3])
def test_a_sample_that_is_cut_off_is_damage(place, gpus):
    payload = form.pack_system(SystemSample(1.0, gpus=(Gpu(1.0, 2.0),) * gpus))
    for size in range(len(payload)):
        items, damage = read(place, form.MAGIC + form.frame(form.SYSTEM, payload[:size]))
        assert (items, damage is None) == ([], False)


def test_more_than_a_sample_can_hold_is_cut(place):
    sample = SystemSample(1.0, gpus=(Gpu(1.0, 2.0),) * 300, cores=70_000, children=40_000)
    ((read_back,), damage) = read(place, form.MAGIC + form.frame(4, form.pack_system(sample)))
    assert (len(read_back.gpus), read_back.cores, read_back.children, damage) == (
        255, 0xFFFF, 0x7FFF, None,
    )  # fmt: skip


def test_a_trace_is_sorted_by_kind(tmp_path):
    sample, record = SystemSample(1.0), StepRecord(0, 1.0)
    array = Array("x", "x", 0, "uint8", (1,), b"1")
    path = write(tmp_path / "a.trace", [sample, record, array, {"event": "end"}])
    trace = read_trace(str(path))
    assert trace == ([record], [array], [{"event": "end"}], [sample], None)


def test_a_full_trace_says_so_and_stays_readable(tmp_path):
    path = write(
        tmp_path / "a.trace", [SystemSample(float(n)) for n in range(100)], quota_bytes=500
    )
    trace = read_trace(str(path))
    assert trace.events == [{"event": "full"}]
    assert trace.damage is None
    assert path.stat().st_size < 600
    assert [sample.time for sample in trace.system] == [float(n) for n in range(len(trace.system))]


def test_values_that_single_precision_cannot_hold_become_infinite(place):
    table = Table("gradients", 0, (Tensor("w", (1,), "matrix"),))
    record = StepRecord(0, 1.0, blocks={"gradients/l2": Block(table, [1e300])})
    ((read_back,), _) = read(place, content(place, [record]))
    assert list(read_back.blocks["gradients/l2"].values) == [math.inf]


def test_nan_is_a_value_of_its_own(place):
    table = Table("gradients", 0, (Tensor("w", (1,), "matrix"), Tensor("v", (1,), "matrix")))
    record = StepRecord(0, 1.0, blocks={"gradients/l2": Block(table, [math.nan, None])})
    ((read_back,), _) = read(place, content(place, [record]))
    first, second = read_back.blocks["gradients/l2"].values
    assert math.isnan(first)
    assert second is None


def test_a_file_as_the_specification_has_it(place):
    """The example of the README, by hand and as it stands there."""
    table = b'{"event":"table","table":0,"collection":"weights","optimizer":0,"tensors":[["w",[2,3],"matrix",true],["b",[2],"vector",false]]}'
    series = b'{"event":"series","series":0,"name":"weights/l2","table":0}'
    loss = b'{"event":"series","series":1,"scalar":"loss"}'
    step = struct.pack("<qdHBHH", 7, 1.5, 0, 0, 1, 1)
    step += struct.pack("<Hd", 1, 0.25)
    step += struct.pack("<HBI", 0, 1, 2) + b"\x01" + struct.pack("<ff", 3.0, 0.0)
    bytes_, objects = README.read_text(encoding="utf-8").split("```\n")[1:4:2]
    assert bytes.fromhex("".join(re.findall(r"\b[0-9A-F]{2}\b", bytes_))) == step
    assert objects.encode().split() == [table, series, loss]
    frames = [(1, table), (1, series), (1, loss), (2, step)]
    found, damage = read(place, form.MAGIC + b"".join(form.frame(*each) for each in frames))
    assert damage is None
    (record,) = found
    assert isinstance(record, StepRecord)
    assert record.step == 7
    assert record.scalars == {"loss": 0.25}
    block = record.blocks["weights/l2"]
    assert block.table.tensors == (("w", (2, 3), "matrix", True), ("b", (2,), "vector", False))
    assert list(block.values) == [3.0, None]


def test_single_precision_is_what_arrays_hold():
    assert numbers("f").itemsize == 4
    assert sys.byteorder in ("little", "big")

"""What was recorded of a job, as a table and as smdebug's trials have it."""

from __future__ import annotations

import math
import re
import struct
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from orchestrator_runtime.trace import Block, StepRecord, Table, Tensor, Writer
from orchestrator_runtime.trace.record import Array

from orchestrator.errors import InvalidSpec, NotFound, Unavailable
from orchestrator.sdk.recording import Recording
from orchestrator.sdk.tensorboard import write_event_files
from orchestrator.sdk.tensors import chosen
from orchestrator.sdk.transport import Transport
from orchestrator.sdk.trial import Trial, create_trial
from orchestrator.sdk.whole import Histogram
from orchestrator.spec.recorded import TensorCollection

LAYERS = (Tensor("fc1.weight", (4, 2), "matrix"), Tensor("fc2.weight", (1, 4), "matrix"))


class Folder:
    """A transport to a folder of traces; it gives few bytes at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.read = 0

    def list_tensors(self, _name: str) -> list[dict[str, Any]]:
        found = [
            {"name": path.name, "size_bytes": path.stat().st_size}
            for path in sorted(self.folder.iterdir())
        ]
        return found + [{"name": name, "size_bytes": 9} for name in self.names]

    def read_tensors(
        self, _name: str, file: str, *, offset: int, limit_bytes: int
    ) -> dict[str, Any]:
        data = (self.folder / file).read_bytes()[offset : offset + min(limit_bytes, 100)]
        self.read += len(data)
        return {"data": data, "next_offset": offset + len(data), "finished": False}


def step(number: int, *, optimizer: int = 0, scale: float = 1.0, gap: bool = False) -> StepRecord:
    table = Table("gradients", optimizer, LAYERS)
    second = None if gap else 2.0 * scale * number
    return StepRecord(
        number,
        100.0 + number,
        optimizer,
        scalars={"loss": scale / (number + 1)},
        blocks={
            "gradients/l2": Block(table, [scale * number, second]),
            "gradients/abs_max": Block(table, [7.0, 8.0]),
        },
    )


def trace(folder: Path, name: str, *steps: StepRecord, rank: int = 0, time: float = 1.0) -> Writer:
    writer = Writer(str(folder / f"{name}.trace"), 1 << 20)
    writer.event(event="start", rank=rank, time=time)
    for record in steps:
        writer.step(record)
    writer.flush()
    return writer


@pytest.fixture
def transport(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def recording(transport: Folder, rank: int | None = None) -> Recording:
    return Recording(cast("Transport", transport), "job", rank)


def test_tensors_are_columns_and_steps_are_rows(tmp_path: Path, transport: Folder) -> None:
    trace(tmp_path, "a", step(0), step(1, gap=True), step(2)).close()
    found = chosen(recording(transport).refresh())
    assert found.names() == ["gradients/fc1.weight", "gradients/fc2.weight"]
    assert found.steps() == [0, 1, 2]
    assert found.values == [[0.0, 0.0], [1.0, None], [2.0, 4.0]]
    assert found["gradients/fc2.weight"] == {0: 0.0, 2: 4.0}


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"name": "gradients/fc1.weight"}, ["gradients/fc1.weight"]),
        ({"name": "gradients/fc.*"}, ["gradients/fc1.weight", "gradients/fc2.weight"]),
        ({"name": "loss"}, ["loss"]),
        ({"series": "gradients/abs_max", "name": ".*fc2.*"}, ["gradients/fc2.weight"]),
        ({"series": "abs_max"}, ["gradients/fc1.weight", "gradients/fc2.weight"]),
        ({"steps": [5]}, []),
        ({"steps": range(1, 3)}, ["gradients/fc1.weight", "gradients/fc2.weight"]),
    ],
)
def test_some_of_it_is_chosen(
    tmp_path: Path, transport: Folder, asked: dict[str, Any], names: list[str]
) -> None:
    trace(tmp_path, "a", step(0), step(1)).close()
    assert chosen(recording(transport).refresh(), **asked).names() == names


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"name": "gradients/fc3.weight"},
            r"no tensor 'gradients/fc3.weight' .*gradients/fc1.weight, ",
        ),
        ({"name": "fc1"}, "matches one from end to end"),
        ({"series": "l3"}, "no series 'l3' .*gradients/l2"),
        ({"series": "weights/l2"}, "no series 'weights/l2'"),
        ({"name": "loss", "series": "l2"}, "no tensor 'loss'"),
    ],
)
def test_what_was_never_recorded_is_refused(
    tmp_path: Path, transport: Folder, asked: dict[str, Any], told: str
) -> None:
    trace(tmp_path, "a", step(0), step(1)).close()
    with pytest.raises(NotFound, match=told):
        chosen(recording(transport).refresh(), **asked)


def test_a_tensor_without_that_statistic_tells_those_it_has(
    tmp_path: Path, transport: Folder
) -> None:
    units = Table("outputs", 0, (Tensor("relu", (8,), "relu"),))
    first = step(0)
    first.blocks["outputs/zeros"] = Block(units, [0.5])
    trace(tmp_path, "a", first).close()
    recorded = recording(transport).refresh()
    with pytest.raises(NotFound, match="no l2 of 'outputs/relu' .*: outputs/zeros"):
        chosen(recorded, "outputs/relu")
    assert chosen(recorded, "outputs/relu", series="zeros").values == [[0.5]]


def test_a_run_without_values_so_far_has_none(tmp_path: Path, transport: Folder) -> None:
    trace(tmp_path, "a").close()
    assert (
        chosen(recording(transport).refresh(), "gradients/fc1.weight", series="l2").names() == []
    )


def test_a_name_that_is_no_expression_is_refused(transport: Folder) -> None:
    with pytest.raises(InvalidSpec, match="regular expression"):
        chosen(recording(transport).refresh(), "(")


def test_what_is_appended_is_read_once(tmp_path: Path, transport: Folder) -> None:
    writer = trace(tmp_path, "a", step(0))
    followed = recording(transport)
    assert chosen(followed.refresh()).steps() == [0]
    writer.step(step(1))
    writer.flush()
    assert chosen(followed.refresh()).steps() == [0, 1]
    followed.refresh()
    assert transport.read == (tmp_path / "a.trace").stat().st_size
    writer.close()


def test_a_later_attempt_replaces_and_other_ranks_are_asked_for(
    tmp_path: Path, transport: Folder
) -> None:
    trace(tmp_path, "b", step(0), step(1), step(2), time=1).close()
    trace(tmp_path, "a", step(1, scale=10), time=2).close()
    trace(tmp_path, "c", step(1, scale=50), rank=1, time=1).close()
    first = chosen(recording(transport).refresh(), "gradients/fc1.weight")
    assert first.values == [[0.0], [10.0], [2.0]]
    assert chosen(recording(transport, 1).refresh(), "gradients/fc1.weight").values == [[50.0]]


def test_tensors_of_a_second_optimizer_are_told_apart(tmp_path: Path, transport: Folder) -> None:
    trace(tmp_path, "a", step(1), step(1, optimizer=1, scale=3)).close()
    found = chosen(recording(transport).refresh(), "gradients/fc1.*")
    assert found.names() == ["gradients/fc1.weight", "gradients/fc1.weight@1"]
    assert found.values == [[1.0, 3.0]]


def test_names_that_would_leave_the_folder_are_not_fetched(
    tmp_path: Path, transport: Folder
) -> None:
    trace(tmp_path, "a", step(0)).close()
    transport.names = ["../x.trace", "/etc/passwd", "x"]
    assert chosen(recording(transport).refresh()).steps() == [0]


def test_what_was_fetched_is_removed(tmp_path: Path, transport: Folder) -> None:
    trace(tmp_path, "a", step(0)).close()
    fetched = recording(transport).refresh()
    folder = fetched._folder
    assert folder.exists()
    fetched.close()
    fetched.close()
    assert not folder.exists()
    assert chosen(fetched).steps() == [0]


def test_tables_of_other_libraries_are_made_when_asked_for(
    tmp_path: Path, transport: Folder
) -> None:
    numpy = pytest.importorskip("numpy")
    trace(tmp_path, "a", step(0), step(1, gap=True)).close()
    found = chosen(recording(transport).refresh())
    array = found.to_numpy()
    assert array.shape == (2, 2)
    assert numpy.isnan(array[1, 1])
    assert chosen(recording(transport).refresh(), steps=[5]).to_numpy().shape[0] == 0
    pytest.importorskip("pandas")
    frame = found.to_pandas()
    assert list(frame.columns) == found.names()
    assert frame.loc[1, "gradients/fc1.weight"] == 1.0


@pytest.fixture
def trial(tmp_path: Path, transport: Folder) -> Trial:
    writer = trace(tmp_path, "a", step(0), step(1))
    data = bytes(range(8))
    writer.array(Array("fc1", "custom", 1, "uint8", (2, 4), data))
    writer.close()
    return Trial(recording(transport))


def test_a_trial_knows_names_and_steps(trial: Trial) -> None:
    assert trial.steps() == [0, 1]
    assert trial.tensor_names(collection="gradients") == [
        "gradients/fc1.weight",
        "gradients/fc2.weight",
    ]
    assert trial.tensor_names(regex="fc1") == ["gradients/fc1.weight", "custom/fc1"]
    assert trial.tensor_names(regex="fc1", step=0) == ["gradients/fc1.weight"]
    assert trial.tensor_names(collection="losses") == ["loss"]
    assert trial.has_tensor("loss")
    assert not trial.has_tensor("absent")


def test_a_tensor_gives_whole_values_or_reductions(trial: Trial) -> None:
    pytest.importorskip("numpy")
    assert trial.tensor("loss").values() == {0: 1.0, 1: 0.5}
    whole = trial.tensor("custom/fc1")
    assert whole.value(1).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert list(whole.values()) == [1]
    reduced = trial.tensor("gradients/fc2.weight")
    assert reduced.steps() == [0, 1]
    assert reduced.reduction_value(1, "l2") == 2.0
    assert reduced.reduction_value(1, "max", abs=True) == 8.0
    assert reduced.reduction_values(1) == {"l2": 2.0, "abs_max": 8.0}
    assert reduced.values() == {}


def test_what_was_not_recorded_is_said_with_what_was(trial: Trial) -> None:
    tensor = trial.tensor("gradients/fc1.weight")
    with pytest.raises(NotFound, match=re.escape("has: abs_max, l2")):
        tensor.value(1)
    with pytest.raises(NotFound, match="its mean must have been recorded at step 1"):
        tensor.reduction_value(1, "mean")
    with pytest.raises(NotFound, match="steps"):
        tensor.reduction_value(9, "l2")
    with pytest.raises(NotFound, match="tensor_names"):
        trial.tensor("absent")


HISTOGRAM = Array(
    "fc1.weight", "weights.histogram", 1, "float64", (6,), struct.pack("<6d", -1, 1, 3, 0, 0, 5)
)
WHOLE = Array("fc1.weight", "weights", 1, "float32", (2,), struct.pack("<2f", 0.5, -1))


def test_whole_tensors_and_histograms_are_chosen_like_others(
    tmp_path: Path, transport: Folder
) -> None:
    pytest.importorskip("numpy")
    writer = trace(tmp_path, "a", step(0), step(1))
    writer.array(WHOLE)
    writer.array(WHOLE._replace(name="fc2.weight", step=2))
    writer.array(HISTOGRAM)
    writer.close()
    everything = recording(transport).refresh()
    found = chosen(everything, "weights/fc1.*")
    assert found.names() == []
    assert {name: list(steps) for name, steps in found.arrays().items()} == {
        "weights/fc1.weight": [1]
    }
    assert found.arrays()["weights/fc1.weight"][1].tolist() == [0.5, -1.0]
    histogram = found.histograms()["weights/fc1.weight"][1]
    assert (histogram.counts, histogram.edges) == ((3, 0, 0, 5), (-1.0, -0.5, 0.0, 0.5, 1.0))
    assert list(chosen(everything, steps=[2]).arrays()) == ["weights/fc2.weight"]


def test_a_histogram_without_finite_elements_has_no_edges() -> None:
    assert Histogram(math.inf, -math.inf, (0, 0)).edges == ()


def test_a_trial_knows_collections_of_the_user_s(tmp_path: Path, transport: Folder) -> None:
    outputs = Table("outputs", 0, (Tensor("act", (4,), "relu"), Tensor("end", (4,), "sigmoid")))
    writer = trace(tmp_path, "a", step(0))
    writer.step(StepRecord(1, 1.0, blocks={"outputs/zeros": Block(outputs, [0.5, 0.0])}))
    writer.array(WHOLE._replace(name="fc1.bias"))
    writer.array(HISTOGRAM)
    writer.close()
    asked = {
        "mine": TensorCollection(include=("relu_output", "fc1.weight$", "^loss")),
        "gradients": TensorCollection(include=("fc2",)),
    }
    trial = Trial(recording(transport), asked)
    assert trial.tensor_names(collection="mine") == [
        "gradients/fc1.weight",
        "outputs/act",
        "weights/fc1.weight",
        "loss",
    ]
    assert trial.tensor_names(collection="gradients") == ["gradients/fc2.weight"]
    assert trial.tensor_names(collection="biases") == ["weights/fc1.bias"]
    assert trial.tensor_names(collection="layers") == ["outputs/act", "outputs/end"]
    assert len(trial.tensor_names(collection="all")) == 7
    tensor = trial.tensor("weights/fc1.weight")
    assert tensor.steps() == [1]
    assert tensor.histogram(1).counts == (3, 0, 0, 5)
    with pytest.raises(NotFound, match="its histogram must have been recorded at step 0"):
        tensor.histogram(0)


class TestTensorBoard:
    """What is written is read back with TensorBoard's own reader."""

    @staticmethod
    def read(folder: Path) -> Any:
        pytest.importorskip("tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        return EventAccumulator(str(folder)).Reload()

    def test_has_curves_histograms_and_findings(self, tmp_path: Path, transport: Folder) -> None:
        numpy = pytest.importorskip("numpy")
        writer = trace(tmp_path, "a", step(0), step(1, gap=True), step(1, optimizer=1))
        writer.array(WHOLE)
        writer.array(WHOLE._replace(name="none", data=struct.pack("<2f", math.nan, math.inf)))
        writer.array(HISTOGRAM._replace(name="fc2.weight"))
        empty = struct.pack("<6d", math.inf, -math.inf, 0, 0, 0, 0)
        writer.array(HISTOGRAM._replace(name="empty", data=empty))
        writer.event(event="finding", name="mine", step=1, message="too small", remedies=["more"])
        writer.close()
        trace(tmp_path, "b", step(1), time=9).close()
        trace(tmp_path, "c", step(0), rank=1).close()
        place = tmp_path / "runs"
        assert write_event_files(recording(transport), place) == 5
        assert write_event_files(recording(transport), place) == 5, "files are replaced"
        assert sorted(path.name for path in place.iterdir()) == [
            "rank-0",
            "rank-0-start-2",
            "rank-1",
        ]
        assert len(list((place / "rank-0").iterdir())) == 1
        run = self.read(place / "rank-0")
        values = [(each.step, each.value) for each in run.Scalars("gradients/l2/fc2.weight")]
        assert values == [(0, 0.0)]
        (loss, later) = run.Scalars("loss")
        assert (loss.step, loss.value, loss.wall_time) == (0, 1.0, 100.0)
        assert later.step == 1
        assert run.Scalars("loss@1")[0].value == 0.5
        assert set(run.Tags()["histograms"]) == {
            "weights/histogram/fc1.weight",
            "weights/histogram/fc2.weight",
        }
        (recorded,) = run.Histograms("weights/histogram/fc2.weight")
        shown = recorded.histogram_value
        assert (recorded.step, shown.min, shown.max, shown.num) == (1, -1.0, 1.0, 8.0)
        assert list(shown.bucket_limit) == [-0.5, 0.0, 0.5, 1.0]
        assert list(shown.bucket) == [3.0, 0.0, 0.0, 5.0]
        made = run.Histograms("weights/histogram/fc1.weight")[0].histogram_value
        assert (made.min, made.max, numpy.sum(made.bucket)) == (-1.0, 0.5, 2.0)
        (text,) = run.Tensors("findings/mine")
        assert b"too small" in text.tensor_proto.string_val[0]

    def test_leaves_out_what_makes_no_sense(self, tmp_path: Path, transport: Folder) -> None:
        """A program may write its trace itself."""
        pytest.importorskip("numpy")
        late = step(2)
        late.time = math.nan
        writer = trace(tmp_path, "a", late, step(0), step(1))
        for wrong in ({"step": "one"}, {"step": 1 << 80}, {"remedies": 5}, {"name": "\ud800"}):
            writer.event(event="finding", **{"step": 1, "name": "wrong", **wrong})
        writer.event(event="finding", name="mine", step=1, message="too small")
        writer.array(WHOLE._replace(step=1 << 80))
        writer.array(HISTOGRAM._replace(shape=(1,), data=struct.pack("<d", 0.0)))
        writer.array(HISTOGRAM._replace(data=struct.pack("<6d", 0.0, 1.0, *[math.nan] * 4)))
        writer.close()
        trace(tmp_path, "b", step(1), rank=1, time=math.inf).close()
        write_event_files(recording(transport), tmp_path / "runs")
        run = self.read(tmp_path / "runs" / "rank-0")
        assert [each.step for each in run.Scalars("loss")] == [0, 1]
        assert run.Tags()["tensors"] == ["findings/mine"]
        assert run.Tags()["histograms"] == []

    def test_is_missing_with_the_remedy(
        self, tmp_path: Path, transport: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
        with pytest.raises(Unavailable, match=r"pip install 'orchestrator\[export\]'"):
            write_event_files(recording(transport), tmp_path / "runs")


def test_a_folder_is_a_trial_too(tmp_path: Path) -> None:
    writer = trace(tmp_path, "a", step(0))
    trial = create_trial(tmp_path)
    assert trial.steps() == [0]
    writer.step(step(1))
    writer.close()
    assert trial.steps() == [0, 1]
    assert create_trial(str(tmp_path / "a.trace")).tensor("loss").values() == {0: 1.0, 1: 0.5}
    with pytest.raises(NotFound, match="must hold files"):
        create_trial(tmp_path / "none")

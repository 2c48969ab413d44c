"""What the debugger's Keras half does without Keras: rows, names, and which back ends it takes."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from orchestrator_runtime.hook.keras import install
from orchestrator_runtime.hook.keras.layout import (
    BEFORE,
    CHANGE,
    Layout,
    Section,
    record_of,
    step_mark,
)
from orchestrator_runtime.hook.keras.names import is_wide, named
from orchestrator_runtime.trace import StepRecord, Table, Tensor

TENSORS = (Tensor("a", (2, 3), "matrix"), Tensor("b", (3,), "vector"))
ALL = Table("gradients", 0, TENSORS)
WIDE = Table("weights", 0, TENSORS[:1])


def read(layout: Layout, numbers: list[float], due: set[str]) -> StepRecord:
    row = [step_mark(5), 0.0, *numbers]
    assert layout.width == len(row)
    return record_of(layout, row, StepRecord(5, 1.0), frozenset(due))


def test_a_row_becomes_a_step():
    layout = Layout(
        ("loss", "norm_before_clip"),
        (
            Section("gradients/l2", ALL, "gradients/l2"),
            Section(CHANGE, WIDE, "weights/update_ratio"),
            Section(BEFORE, WIDE, "weights/update_ratio"),
        ),
    )
    step = read(layout, [2.5, 10.0, 3.0, 4.0, 1.0, 2.0], {"gradients/l2", "weights/update_ratio"})
    assert step.scalars == {"loss": 2.5, "norm_before_clip": 10.0, "norm": 5.0, "clip": 0.5}
    assert list(step.blocks["weights/update_ratio"].values) == pytest.approx([0.5])
    assert set(step.blocks) == {"gradients/l2", "weights/update_ratio"}


def test_what_is_not_due_has_no_meaning():
    layout = Layout((), (Section("gradients/abs_max", ALL, "gradients/abs_max"),))
    assert read(layout, [0.0, 0.0], set()).blocks == {}


def test_tensors_without_a_number_are_gaps():
    layout = Layout((), (Section("gradients/l2", ALL, "gradients/l2", (False, True)),))
    step = read(layout, [3.0], {"gradients/l2"})
    assert step.blocks["gradients/l2"].values == [None, 3.0]
    assert step.scalars == {"norm": 3.0}


def test_a_clipped_gradient_that_was_infinite():
    layout = Layout(("norm_before_clip",), (Section("gradients/l2", ALL, "gradients/l2"),))
    assert read(layout, [float("inf"), 0.0, 0.0], {"gradients/l2"}).scalars["clip"] == 0.0


def test_a_skipped_step():
    assert read(Layout(("loss",), (), skipped=True), [1.0], {"gradients/l2"}).skipped


@pytest.mark.parametrize(
    ("path", "shape", "role", "wide"),
    [
        ("net/dense/kernel", (3, 4), "matrix", True),
        ("net/dense/bias", (4,), "vector", False),
        ("net/attention/query/bias", (2, 8), "vector", False),
        ("net/norm/gamma", (4,), "scale", False),
        ("net/embedding/embeddings", (100, 8), "embedding", True),
    ],
)
def test_names_and_roles(path, shape, role, wide):
    (tensor,) = named([SimpleNamespace(path=path, shape=shape)])
    assert tensor == Tensor(path, shape, role)
    assert is_wide(tensor) == wide


def test_a_name_that_occurs_twice():
    variable = SimpleNamespace(name="kernel:0", shape=(1, 1))
    assert [tensor.name for tensor in named([variable, variable])] == ["kernel", "kernel#2"]


class Said:
    """A monitor that remembers why nothing is watched."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def unmonitored(self, reason: str) -> None:
        """Remember a reason."""
        self.reasons.append(reason)


@pytest.mark.parametrize(("back_end", "said"), [("torch", 0), ("jax", 1)])
def test_back_ends_that_are_not_tensorflow(monkeypatch, back_end, said):
    module = ModuleType("keras")
    module.__dict__.update(__version__="3.15.1", backend=SimpleNamespace(backend=lambda: back_end))
    monkeypatch.setitem(sys.modules, "keras", module)
    monitor = Said()
    assert install(monitor, "keras") is None  # type: ignore[arg-type]
    assert len(monitor.reasons) == said
    assert all("jax" in reason and "KERAS_BACKEND" in reason for reason in monitor.reasons)

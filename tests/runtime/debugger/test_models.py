"""Parameters of all kinds are measured like any other, under the names that the program gives them."""

from __future__ import annotations

import pytest

from tests.runtime.debugger.agreement import check, recorded
from tests.runtime.debugger.watched import ALL_RULES, Run, both

pytestmark = pytest.mark.torch

NUMBERS = ["torch.complex64", "torch.float64", "torch.bfloat16", "mixed", "single"]
KINDS = [
    "sparse", "frozen", *NUMBERS, "channels_last", "parametrized", "tied", "parallel", "loose",
    "without_module", "deterministic", "out_of_sight",
]  # fmt: skip
WRAPPED = {"parallel": "module.module."}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    return both(tmp_path_factory.mktemp("models"), "models.py", plan={"rules": ALL_RULES})


@pytest.fixture(scope="module")
def found(runs):
    return recorded(runs[1])


def test_all_results_are_identical_and_nothing_is_found(runs):
    bare, seen = runs
    assert [line["kind"] for line in bare.lines] == KINDS
    assert bare.lines == seen.lines
    assert (seen.errors, seen.findings) == (bare.errors, [])


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_that_the_program_saw(found, kind):
    ((account, steps),) = found[kind]
    prefix = WRAPPED.get(kind, "")
    for norms in account["norms"]:
        for name in list(norms):
            norms[name.removeprefix(prefix)] = norms.pop(name)
    check(account, steps)


def tensors(found, kind, step=0):
    ((_, steps),) = found[kind]
    return {tensor.name: tensor for tensor in steps[step].blocks["gradients/l2"].table.tensors}


def test_what_has_no_elements_is_left_out(found):
    assert list(tensors(found, "torch.float64")) == ["matrix", "one", "unused"]


def test_tied_weights_have_one_name(found):
    assert list(tensors(found, "tied")) == [
        "first.weight", "first.bias", "second.bias", "scales.0", "scales.1", "last.weight", "last.bias",
    ]  # fmt: skip


def test_shapes_and_roles(found):
    (embedding,) = tensors(found, "sparse").values()
    assert (embedding.shape, embedding.role) == ((100, 8), "embedding")
    roles = [tensor.role for tensor in tensors(found, "channels_last").values()]
    assert roles == ["matrix", "vector", "scale", "scale", "matrix", "vector"]
    made = tensors(found, "parametrized")
    assert made["0.parametrizations.weight.original0"].role == "scale"
    assert made["0.parametrizations.weight.original1"].role == "matrix"


def test_what_is_frozen_was_not_meant_to_train(found):
    meant = {name: tensor.trainable for name, tensor in tensors(found, "frozen").items()}
    assert meant == {name: name.startswith("4.") for name in meant}

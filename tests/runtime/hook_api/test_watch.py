"""``watch`` and its companions in a program that has no service, several after each other."""

from __future__ import annotations

import gc
import hashlib
import json
import weakref
from typing import Any

import pytest
from orchestrator_runtime import report_metric
from orchestrator_runtime.hook import (
    Finding,
    TrainingStopped,
    save_scalar,
    save_tensor,
    watch,
)
from orchestrator_runtime.hook.schedule import DEFAULT_INTERVALS
from orchestrator_runtime.rules import Need, Rule
from orchestrator_runtime.trace import read_trace

pytestmark = pytest.mark.torch


class Array7(Rule):
    """Wants a whole tensor, and finds it."""

    needs = (Need("weights/array", 2, "^2"),)

    def observe(self, record):
        return None

    def observe_array(self, array):
        if array.collection == "weights" and array.step == 4:
            return Finding("Array7", array.step, "there", layers=(array.name,))
        return None


class Broken(Rule):
    def observe(self, record):
        raise ZeroDivisionError("of the rule")


def made(seed: int = 0) -> tuple[Any, Any]:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def train(model: Any, optimizer: Any, steps=6, *, spoiled=None, before_step=None):
    import torch
    from torch import nn

    for step in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.randn(6, 4)), torch.arange(6) % 3)
        if step == spoiled:
            loss = loss * float("nan")
        loss.backward()
        if before_step is not None:
            before_step(step, model)
        optimizer.step()


def digest(model):
    import torch

    parts = [value.numpy().tobytes() for value in model.state_dict().values()]
    return hashlib.sha256(b"".join(parts) + torch.get_rng_state().numpy().tobytes()).hexdigest()


def pytorch():
    """What the debugger puts something into."""
    import torch

    steps = __import__("sys").modules["torch.optim.optimizer"]
    owners = (
        torch.autograd, torch.amp.GradScaler, torch.nn.functional, torch.nn.utils,
        torch.nn.utils.clip_grad,
    )  # fmt: skip
    functions = [
        {name: value for name, value in vars(owner).items() if callable(value)} for owner in owners
    ]
    hooks = (steps._global_optimizer_pre_hooks, steps._global_optimizer_post_hooks)
    return functions, [dict(each) for each in hooks]


def test_the_same_training_named_and_only_of_the_given_optimizer(tmp_path):
    before = pytorch()
    model, optimizer = made()
    train(model, optimizer)
    expected = digest(model)
    model, optimizer = made()

    def said(step, model):
        report_metric("validation:loss", step)
        save_scalar("bias", model[0].bias.sum())
        save_tensor("first", model[0].weight, "mine")

    with watch(
        model,
        optimizer,
        rules=["non_finite", "overfit", Array7, Broken],
        directory=tmp_path,
        every={"mine/l2": 2, "outputs/spread": 1, "weights/nothing": 3},
        arrays={"labels": 1, "predictions": 1},
        histograms={"gradients": 3},
        include=["0.weight", "decoder"],
    ) as watching:
        assert pytorch() != before
        assert watching.trace_path is None
        train(model, optimizer, before_step=said)
        assert watching.steps == 6
        result = digest(model)
        train(*made(1), steps=2)
    assert pytorch() == before
    assert result == expected
    assert watching.steps == 6
    assert [(each.rule, each.layers) for each in watching.findings] == [("Array7", ("2.weight",))]
    trace = read_trace(str(watching.trace_path))
    steps = list(trace.steps)
    assert [step.scalars["validation:loss"] for step in steps] == [0, 1, 2, 3, 4, 5]
    assert "bias" in steps[0].scalars
    assert steps[1].blocks["gradients/l2"].table.names == ["0.weight"]
    assert "mine/l2" not in steps[2].blocks, "it does not match what is included"
    arrays = {(each.collection, each.name) for each in trace.arrays}
    assert arrays == {
        ("mine", "first"), ("labels", "labels"), ("predictions", "predictions"),
        ("weights", "2.weight"), ("weights", "2.bias"),
        *(("gradients.histogram", f"{layer}.{kind}") for layer in "02" for kind in ("weight", "bias")),
    }  # fmt: skip
    notes = [event["text"] for event in trace.events if event["event"] == "note"]
    assert any(note.startswith("series weights/nothing is not known") for note in notes)
    assert any(note.startswith("include pattern 'decoder' matches no tensor") for note in notes)


def test_metrics_reach_the_rules_over_validation_losses():
    model, optimizer = made()
    losses = iter([1.0] * 3 + [1.0 + 0.3 * step for step in range(57)])
    with watch(model, optimizer, rules={"Overtraining": {"patience_validation": 2}}) as watching:
        for loss in losses:
            report_metric("validation:loss", loss)
            train(model, optimizer, 1)
    (finding,) = watching.findings
    assert finding.rule == "Overtraining"
    assert "validation" in finding.message


class HandError(Exception):
    pass


def test_what_on_finding_raises_reaches_the_program_and_nothing_else_does(tmp_path):
    model, optimizer = made()
    seen = []

    def on_finding(finding):
        seen.append(finding)
        raise HandError(finding.rule)

    watching = watch(
        model,
        optimizer,
        rules=["non_finite", Broken],
        findings=tmp_path / "found.jsonl",
        on_finding=on_finding,
    )
    with pytest.raises(HandError, match="non_finite"):
        train(model, optimizer, spoiled=2)
    assert watching.steps == 3
    watching.close()
    watching.close()
    (line,) = (tmp_path / "found.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["step"] == seen[0].step == 2
    train(model, optimizer)


def test_a_rule_may_end_the_training():
    model, optimizer = made()
    with watch(model, optimizer, stop_on=["non_finite"]) as watching:
        train(model, optimizer, spoiled=1)
        pytest.fail("the training goes on")
    assert watching.stopped is not None
    assert watching.stopped.step == 1
    watching = watch(model, optimizer, rules=["non_finite"], stop_on=["all"])
    with pytest.raises(TrainingStopped, match="not finite"):
        train(model, optimizer)
    watching.close()
    with pytest.raises(HandError), watch(model, optimizer):
        raise HandError


def test_watches_follow_each_other_and_nothing_is_kept():
    gone = []
    model = optimizer = None
    for seed in range(3):
        model, optimizer = made(seed)
        gone.append(weakref.ref(model))
        watching = watch(model, optimizer)
        with pytest.raises(ValueError, match="close"):
            watch(model, optimizer)
        train(model, optimizer, 2)
        watching.close()
        assert watching.steps == 2
    del model, optimizer
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3


def test_two_watches_at_once_see_their_own_optimizers(tmp_path):
    first, second = made(), made(1)
    one = watch(*first, directory=tmp_path / "a", rules=[])
    two = watch(*second, directory=tmp_path / "b", rules=[])
    train(*first, 2)
    train(*second, 3)
    one.close()
    train(*second, 1)
    two.close()
    traces = [read_trace(str(watching.trace_path)) for watching in (one, two)]
    assert [len(list(trace.steps)) for trace in traces] == [2, 4]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (lambda model, optimizer: (optimizer, model), "model must be a torch.nn.Module, got Adam"),
        (lambda model, optimizer: (model, model), "optimizer must be a torch.optim.Optimizer"),
        (lambda model, optimizer: (model, []), "must be one at least"),
    ],
)
def test_wrong_objects_are_told_at_the_call(arguments, text):
    before = pytorch()
    with pytest.raises((TypeError, ValueError), match=text):
        watch(*arguments(*made()))
    with pytest.raises(TypeError, match="on_finding must be callable"):
        watch(*made(), on_finding=3)  # type: ignore[arg-type]
    assert pytorch() == before


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:Converting a tensor")
def test_compiled_losses_are_left_alone():
    import torch
    from torch import nn

    model, optimizer = made()
    with watch(model, optimizer, rules=[], arrays={"labels": 1}):
        scripted = torch.jit.script(nn.CrossEntropyLoss())
        scores, labels = torch.randn(2, 3), torch.tensor([0, 1])
        assert scripted(scores, labels) == nn.CrossEntropyLoss()(scores, labels)
        assert torch.jit.script(nn.functional.mse_loss)(scores, scores) == 0
        traced = torch.jit.trace(nn.functional.mse_loss, (scores, scores))
        assert traced(scores, scores + 1) == pytest.approx(1)
        torch.func.vmap(torch.func.grad(nn.functional.mse_loss))(scores, scores)


def test_sparse_gradients_of_a_parameter_that_is_in_no_embedding():
    import torch

    table = torch.nn.Parameter(torch.ones(100, 8))
    optimizer = torch.optim.SGD([table], 0.1)
    with watch(torch.nn.ParameterList([table]), optimizer) as watching:
        for _ in range(60):
            optimizer.zero_grad()
            torch.nn.functional.embedding(
                torch.tensor([3, 3]), table, sparse=True
            ).sum().backward()
            optimizer.step()
    assert watching.steps == 60


def test_steps_at_which_nothing_is_due_are_only_counted(tmp_path):
    model, optimizer = made()
    tenth = dict.fromkeys(DEFAULT_INTERVALS, 10)
    with watch(
        model, optimizer, rules=["non_finite"], every=tenth, directory=tmp_path
    ) as watching:
        train(model, optimizer, steps=35)
    (path,) = tmp_path.iterdir()
    trace = read_trace(path)
    assert [record.step for record in trace.steps] == [0, 1, 10, 20, 30]
    assert all("loss" in record.scalars for record in trace.steps)
    assert all("gradients/l2" in record.blocks for record in trace.steps if record.step % 10 == 0)
    (end,) = [event for event in trace.events if event["event"] == "end"]
    assert (end["steps"], end["backwards"]) == (35, 35)
    assert watching.steps == 5


def test_losses_of_a_closure_at_other_steps_are_not_those_of_a_recorded_one(tmp_path):
    import torch
    from torch import nn

    model, _ = made()
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    firsts = []

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        losses.append(loss.item())
        return loss

    tenth = dict.fromkeys(DEFAULT_INTERVALS, 10)
    with watch(model, optimizer, rules=["non_finite"], every=tenth, directory=tmp_path):
        for _ in range(21):
            losses: list[float] = []
            optimizer.step(closure)
            firsts.append(losses[0])
    (path,) = tmp_path.iterdir()
    recorded = {record.step: record.scalars["loss"] for record in read_trace(path).steps}
    assert recorded == pytest.approx({step: firsts[step] for step in (0, 1, 10, 20)})

"""By how much a step changes the weights."""

from __future__ import annotations

import weakref

import pytest

torch = pytest.importorskip("torch")

from orchestrator_runtime.hook.pytorch.updates import MOST_ELEMENTS, Updates, blocks  # noqa: E402

pytestmark = pytest.mark.torch


def parameter(*shape: int, **kind: object):
    generator = torch.Generator().manual_seed(1)
    return torch.nn.Parameter(torch.randn(*shape, generator=generator).to(**kind))


def ratio(weights, change: float) -> list[float]:
    """What is measured when every weight grows by a share of itself."""
    updates = Updates(weights)
    with torch.no_grad():
        updates.take()
        for weight in weights:
            weight.mul_(1 + change)
        changes = updates.changes()
    assert changes is not None
    return [float(moved / before) for moved, before in zip(*changes, strict=True)]


def test_small_and_large_tensors_of_several_kinds_are_measured_together():
    weights = [
        parameter(3, 4),
        parameter(500, 300),
        parameter(8, dtype=torch.float64),
        parameter(4, 8, 3, 3).to(memory_format=torch.channels_last),
    ]
    assert ratio(weights, 0.01) == pytest.approx([0.01] * 4, rel=1e-3)


def test_a_norm_of_a_sample_is_near_that_of_the_whole():
    weight = parameter(512, 512)
    updates = Updates([weight])
    with torch.no_grad():
        updates.take()
        weight.add_(0.1 * torch.randn(512, 512, generator=torch.Generator().manual_seed(2)))
        changes = updates.changes()
    assert changes is not None
    assert float(changes[0][0] / changes[1][0]) == pytest.approx(0.1, rel=0.1)


def test_what_lies_apart_in_memory_is_followed():
    apart = torch.nn.Parameter(parameter(40, 30, 6).data[:, ::2, ::2])
    line = torch.nn.Parameter(parameter(40, 30).data[:, 0])
    assert ratio([apart, line], 0.01) == pytest.approx([0.01] * 2, rel=1e-3)


@pytest.mark.parametrize("columns", [33, 49, 64, 75, 256, 784])
def test_columns_that_alone_have_moved_are_seen_in_64_rows(columns):
    weight = torch.nn.Parameter(torch.ones(64, columns))
    updates = Updates([weight])
    with torch.no_grad():
        updates.take()
        weight[:, 20:].add_(0.1)
        changes = updates.changes()
    assert changes is not None
    expected = 0.1 * (1 - 20 / columns) ** 0.5
    assert float(changes[0][0] / changes[1][0]) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("columns", [64, 256, 1000, 1024])
def test_every_column_of_a_matrix_is_seen(columns):
    which = torch.arange(columns).repeat(4096)
    seen = blocks(which, columns)
    assert seen.numel() == MOST_ELEMENTS
    assert len(seen.unique()) >= columns / 2


def test_a_sample_reaches_from_the_first_to_the_last_rows():
    seen = blocks(torch.arange(1000 * 300), 300)
    assert seen.min() == 0
    assert seen.max() >= 980 * 300


def test_new_storage_is_noticed():
    weight = parameter(3, 4)
    updates = Updates([weight])
    with torch.no_grad():
        updates.take()
        updates.changes()
        weight.data = weight.data.clone()
        updates.take()
        weight.mul_(2)
        changes = updates.changes()
    assert changes is not None
    assert float(changes[0][0] / changes[1][0]) == pytest.approx(1.0)


def test_a_step_that_was_not_made_is_not_measured_with_the_next():
    updates = Updates([parameter(3, 4)])
    updates.take()
    updates.forget()
    assert updates.changes() is None


def test_an_optimizer_that_is_let_go_keeps_no_weights():
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.plan import plan_from
    from orchestrator_runtime.hook.pytorch.adapter import Adapter

    monitor = Monitor(plan_from({"directory": None}))
    model = torch.nn.Linear(3, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Adapter(monitor)._watch(optimizer)
    assert watch is not None
    model(torch.ones(2, 3)).sum().backward()
    watch.before(optimizer, has_closure=False)
    watch.after(optimizer)
    gone = weakref.ref(model.weight)
    watch.let_go()
    del model, optimizer
    assert gone() is None

"""Parameters that get gradients and belong to no optimizer."""

from __future__ import annotations

import copy

import pytest

pytestmark = pytest.mark.torch


def found(model, *others):
    from orchestrator_runtime.hook.pytorch.strays import strays

    return [each.tensor.name for each in strays([model, *others])]


def backward(model):
    import torch

    model(torch.ones(3, 4)).sum().backward()


def sgd(parameters):
    import torch

    return torch.optim.SGD(parameters, lr=0.1)


def replace_last(model):
    import torch

    model[2] = torch.nn.Linear(4, 2)


@pytest.fixture
def model():
    import torch

    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def test_all_that_an_optimizer_has_is_no_stray(model):
    optimizer = sgd(model.parameters())
    backward(model)
    assert found(model) == []
    assert optimizer.param_groups


def test_a_module_that_came_after_the_optimizer_is_one(model):
    optimizer = sgd(model.parameters())
    replace_last(model)
    assert found(model) == [], "it has no gradient yet"
    backward(model)
    assert found(model) == ["2.weight", "2.bias"]
    assert optimizer.param_groups


def test_a_second_optimizer_counts_before_its_first_step(model):
    optimizers = [sgd(each.parameters()) for each in (model[0], model[2])]
    backward(model)
    assert found(model) == []
    optimizers.pop()
    assert found(model) == ["2.weight", "2.bias"]


def test_what_is_frozen_or_only_a_copy_is_none(model):
    average = copy.deepcopy(model)
    optimizer = sgd(model[2].parameters())
    model[0].requires_grad_(False)
    backward(model)
    assert found(model, average) == []
    assert optimizer.param_groups


def test_each_is_told_once_though_two_models_have_it(model):
    optimizer = sgd(model[2].parameters())
    backward(model)
    assert found(model, model[0]) == ["0.weight", "0.bias"]
    assert optimizer.param_groups


def test_layers_in_a_plain_list_have_names_of_their_own():
    import torch

    layers = [torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)]
    layers[1](layers[0](torch.ones(3, 4))).sum().backward()
    names = found(layers[0], layers[1])
    assert len(set(names)) == 4


def test_an_optimizer_that_gc_freeze_has_hidden_still_counts(model, monkeypatch):
    import gc

    from orchestrator_runtime.hook.pytorch import names

    monkeypatch.setattr(gc, "freeze", gc.freeze)  # put back what is wrapped here
    monkeypatch.setattr(names, "_frozen", [])
    names.remember_what_freezes()
    optimizer = sgd(model.parameters())
    backward(model)
    gc.freeze()
    try:
        assert found(model) == []
    finally:
        gc.unfreeze()
    assert optimizer.param_groups

"""Whole runs for the tests of our own rules: losses and layers, recorded by the default schedule."""

from __future__ import annotations

import math

from orchestrator_runtime.rules import Engine, judge_of
from orchestrator_runtime.trace.record import Block, StepRecord, Table, Tensor


class Layers:
    """Weight matrices of one optimizer, and activations."""

    def __init__(self, shapes, units=(), roles=None, frozen=()):
        roles = roles or ["matrix"] * len(shapes)
        self.weights = tuple(
            Tensor(f"{index}.weight", shape, role, index not in frozen)
            for index, (shape, role) in enumerate(zip(shapes, roles, strict=True))
        )
        self.gradients = Table("gradients", 0, self.weights)
        self.matrices = Table("weights", 0, self.weights)
        self.outputs = Table(
            "outputs", 0, tuple(Tensor(f"unit{i}", (), kind) for i, kind in enumerate(units))
        )


def layers(number=4, width=16, units=()):
    return Layers([(width, width)] * number, units)


def course(
    losses,
    model,
    gradients,
    *,
    weights=None,
    ratios=1e-3,
    rates=0.1,
    clip=None,
    deviations=None,
    outputs=None,
):
    """Records of a run; what is no function of the step is the same at every step.

    Values are a list with one for each layer, or one for all. ``gradients`` are those before
    clipping; ``weights`` are about 4 and move, if not given; ``outputs`` gives, for each statistic, values for each activation.
    """
    for number, loss in enumerate(losses):
        found = _at(gradients, number, len(model.weights))
        norm = math.hypot(*(value for value in found if value is not None))
        scalars = {"loss": loss, "norm": norm, "learning_rate": _value(rates, number)}
        if clip is not None and norm > clip:
            scalars.update(norm_before_clip=norm, norm=clip, clip=clip / norm)
            found = [None if value is None else value * clip / norm for value in found]
        blocks = {"gradients/l2": Block(model.gradients, found)}
        if number % 10 == 0:
            present = (
                _at(_moving if weights is None else weights, number, len(found)),
                _at(ratios, number, len(found)),
            )
            blocks["weights/l2"] = Block(model.matrices, present[0])
            blocks["weights/update_ratio"] = Block(model.matrices, present[1])
        if number == 0 and deviations is not None:
            blocks["weights/std"] = Block(model.matrices, _at(deviations, 0, len(found)))
        if number == 1 or (number and number % 50 == 0):
            for statistic, values in (outputs or {}).items():
                seen = _at(values, number, len(model.outputs.tensors))
                blocks[f"outputs/{statistic}"] = Block(model.outputs, seen)
        yield StepRecord(number, float(number), 0, skipped=False, scalars=scalars, blocks=blocks)


def _moving(step):
    """Norms of weights whose steps add up, about 4."""
    return 4.0 * (1.0 + 1e-5 * step)


def _value(given, number):
    return given(number) if callable(given) else given


def _at(given, number, size):
    value = _value(given, number)
    return list(value) if isinstance(value, (list, tuple)) else [value] * size


def first(rule, records, **parameters):
    """The first finding of a rule, None without one."""
    engine = Engine([judge_of(rule, parameters or None)])
    found = None
    for record in records:
        told = engine.observe(record)
        assert not engine.failures
        if told and found is None:
            found = told[0][1]
    return found


def flat(number, loss=2.3, noise=0.01):
    """Losses that stay where they are, but for some noise."""
    return [loss * (1.0 + noise * math.sin(7.0 * step)) for step in range(number)]


def falling(number, first_loss=2.3, last=0.1):
    """Losses that come down steadily."""
    return [first_loss * (last / first_loss) ** (step / number) for step in range(number)]

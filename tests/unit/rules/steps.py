"""Steps, samples and runs for the tests of rules."""

from __future__ import annotations

import struct

from orchestrator_runtime.rules import Engine, judge_of
from orchestrator_runtime.trace.record import (
    Array,
    Block,
    Gpu,
    StepRecord,
    SystemSample,
    Table,
    Tensor,
)

FORMATS = {
    "float32": "f",
    "float64": "d",
    "int64": "q",
    "int32": "i",
    "uint8": "B",
    "float16": "e",
}


def tensor(name, role="matrix", shape=(4, 4)):
    return Tensor(name, shape, role)


def block(values, *, role="matrix", collection="gradients"):
    """A block of a mapping by name, or of a list with names w0, w1, ...; names may bring a role."""
    if not isinstance(values, dict):
        values = {f"w{index}.weight": value for index, value in enumerate(values)}
    tensors = tuple(tensor(name, role) for name in values)
    return Block(Table(collection, 0, tensors), list(values.values()))


def step(number, *, skipped=False, time=None, optimizer=0, blocks=None, role="matrix", **scalars):
    """A step; blocks by series, each as `block` takes it; scalars with ``__`` for a colon."""
    return StepRecord(
        number,
        float(number) if time is None else time,
        optimizer,
        skipped=skipped,
        scalars={name.replace("__", ":"): value for name, value in scalars.items()},
        blocks={
            series: block(values, role=role, collection=series.partition("/")[0])
            for series, values in (blocks or {}).items()
        },
    )


def array(name, values, *, shape=None, number=0, collection=None, dtype="int64"):
    values = list(values)
    data = struct.pack(f"<{len(values)}{FORMATS[dtype]}", *values)
    shape = (len(values),) if shape is None else shape
    return Array(name, name if collection is None else collection, number, dtype, shape, data)


def sample(seconds=0.0, *, cpu=50.0, wait=0.0, gpus=(), **rest):
    return SystemSample(float(seconds), cpu, wait, tuple(Gpu(*gpu) for gpu in gpus), **rest)


def engine(rule, parameters=None, *, every=None):
    return Engine([judge_of(rule, parameters, save_interval=every)])


def findings(rule, items, parameters=None, *, every=None):
    """What a rule finds in steps, arrays and samples, in their order."""
    run = engine(rule, parameters, every=every)
    found = []
    for item in items:
        if isinstance(item, StepRecord):
            told = run.observe(item)
        elif isinstance(item, Array):
            told = run.observe_array(item)
        else:
            told = run.observe_system(item)
        found += [finding for _, finding in told]
    assert not run.failures, run.failures
    return found


def fired_at(rule, items, parameters=None, *, every=None):
    """The step at which a rule fires, None if it does not."""
    found = findings(rule, items, parameters, every=every)
    assert len(found) <= 1
    return found[0].step if found else None

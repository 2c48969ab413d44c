"""The debugger's report as a page and as text."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from orchestrator_runtime.rules import Finding
from orchestrator_runtime.trace import StepRecord
from orchestrator_runtime.trace.record import GRADIENTS_L2

from orchestrator.report.debugger import DebuggerSummary, curve_of, debugger_page, optimizers
from orchestrator.report.debugger_text import debugger_text
from orchestrator.report.layers import last_values
from tests.unit.report.reading import HOSTILE, Page
from tests.unit.report.traces import layers, steps_of

SUMMARY = DebuggerSummary(
    "digits",
    "Stopped",
    "torch 2.13",
    "hook in the process, rank 0",
    rules=("vanishing_gradient",),
    footer="end",
)
FOUND = Finding(
    "vanishing_gradient",
    12,
    "the first layers get 1e-9 of the gradient",
    "sigmoids pass on a quarter at most",
    ("use ReLU", "add normalisation"),
    ("a", "b"),
    {"ratio": -9.3, "loss": math.nan},
)
LARGEST = 2_000_000


def found(stop: bool = True, **changes) -> dict[str, Any]:
    return {**FOUND._replace(**changes).to_json(), "stop": stop}


def some_steps(count=30, names=("a", "b")) -> list[StepRecord]:
    return steps_of(list(names), count, lambda step: [10.0**-n for n in range(len(names))])


def read(steps, findings=(), summary=SUMMARY) -> tuple[Page, str]:
    text = debugger_page("t", summary, steps, findings)
    assert len(text.encode()) < LARGEST
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    return Page(text), text


def test_a_finding_is_told_whole_and_marked_in_every_chart():
    page, text = read(some_steps(), [found()])
    for part in (
        "digits", "Stopped", "torch 2.13", "hook in the process, rank 0", "vanishing_gradient", "step 12",
        "stopped the job", FOUND.message, FOUND.cause, "use ReLU", "add normalisation", "ratio -9.3", "loss nan",
    ):  # fmt: skip
        assert part in page.text, part
    charts = [kind for kind, of in page.tags if kind == "svg" and of.get("class") == "steps"]
    assert len(charts) == 5
    assert text.count('class="stopflag"') == len(charts)
    assert text.count("layer concerned") == 4  # two tensors in two pictures


def test_only_pictures_in_the_file_may_be_shown():
    _, text = read(some_steps())
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    assert "img-src data:;" not in text
    assert 'img-src data:"' in text


def test_a_healthy_run_says_who_looked():
    page, _ = read(some_steps())
    assert "Nothing was found: 1 rule judged 30 steps." in page.text


def test_a_run_that_was_not_watched_does_not_look_healthy():
    page, text = read(
        [], summary=DebuggerSummary("j", "Completed", unmonitored="12 backward passes but no step")
    )
    assert "Unmonitored: 12 backward passes but no step" in page.text
    assert "Nothing was found" not in page.text
    assert 'class="failure fine"' not in text
    page, text = read(
        some_steps(), summary=DebuggerSummary("j", "Failed", unmonitored="the quota", rules=("x",))
    )
    assert 'class="failure fine"' not in text


def test_nothing_at_all_is_said_to_be_nothing():
    page, _ = read([], summary=DebuggerSummary("j", "Completed"))
    assert "nothing can be said" in page.text
    page, _ = read(some_steps(), summary=DebuggerSummary("j", "Completed"))
    assert "No rule was asked" in page.text


@pytest.mark.parametrize(
    "steps",
    [
        [StepRecord(0, 0.0)],
        [StepRecord(0, 0.0, skipped=True)],
        some_steps(1),
        steps_of(["a"], 5, lambda _: [math.nan], scalars=lambda _: {"loss": math.nan, "norm": math.inf}),
        steps_of(["a"], 5, lambda _: [None], scalars=lambda _: {"loss": 1e308, "norm": 0.0}),
        steps_of(["a"], 700, lambda step: [10.0 ** (step % 70 - 44)], scalars=lambda step: {"loss": -1e308 * (step % 2)}),
        steps_of([], 3, lambda _: []),
        [StepRecord(-(2**63), 0.0, scalars={"loss": 1.0}), StepRecord(2**63 - 1, 0.0, scalars={"loss": 2.0})],
    ],
)  # fmt: skip
def test_odd_runs_have_a_report(steps):
    read(steps, [found(step=0)])
    assert debugger_text(SUMMARY, steps, [found(step=0)])


def test_several_optimizers_have_sections_and_findings_of_their_own():
    steps = [
        record
        for pair in zip(
            steps_of(["g"], 20, lambda _: [1.0]),
            steps_of(["d"], 20, lambda _: [1.0], optimizer=1),
            strict=True,
        )
        for record in pair
    ]
    page, text = read(steps, [found(stop=False, optimizer=1)])
    ids = [of.get("id") for kind, of in page.tags if kind == "h2" and of.get("id")]
    assert ids == ["optimizer-0", "optimizer-1"]
    assert [of.get("href") for kind, of in page.tags if kind == "a"] == [
        "#optimizer-0",
        "#optimizer-1",
    ]
    assert text.index('class="flag"') > text.index('id="optimizer-1"')
    assert "optimizer 1 · reported only" in page.text
    every = [of["id"] for _, of in page.tags if of.get("id")]
    assert len(every) == len(set(every))


def test_very_many_optimizers_are_cut():
    steps = [
        record for n in range(40) for record in steps_of(["a"], 2, lambda _: [1.0], optimizer=n)
    ]
    page, _ = read(steps)
    assert "28 more optimizers" in page.text


def test_metrics_of_the_program_have_their_curves():
    steps = steps_of(
        ["a"], 1000, lambda _: [1.0], scalars=lambda step: {f"validation:{HOSTILE}": step / 10}
    )
    page, _ = read(steps)
    assert "Metrics that the program reported" in page.text
    assert "validation:<script>" in page.text


def test_the_last_values_of_each_layer_are_in_a_table():
    page, _ = read(some_steps())
    for part in (
        "Last values of 2 tensors",
        "4 x 4",
        "matrix",
        "gradient / weights",
        "0.05",
        "0.001",
    ):
        assert part in page.text, part


def test_last_values_are_those_of_the_last_step_that_has_them():
    steps = some_steps(5)
    steps[-1].blocks[GRADIENTS_L2] = steps[-1].blocks[GRADIENTS_L2]._replace(values=[7.0, None])
    lines = {line.tensor.name: line.values["gradient"] for line in last_values(steps)}
    assert lines == {"a": 7.0, "b": 0.1}


HOSTILE_FINDINGS: list[dict[str, Any]] = [
    {},
    {"step": "x", "layers": "abc", "values": [1], "remedies": None, "optimizer": None, "stop": "yes"},
    {
        "rule": HOSTILE, "name": HOSTILE * 500, "step": 3, "optimizer": 0, "layers": [HOSTILE] * 500, "cause": HOSTILE * 900,
        "message": HOSTILE * 900, "remedies": [HOSTILE] * 99, "values": {HOSTILE * n: HOSTILE for n in range(99)},
    },
    {"step": True, "layers": [None, 3], "values": {"a": None, "b": [1]}, "message": None, "optimizer": 0},
    {"step": 10**30, "optimizer": 0},
]  # fmt: skip


def test_nothing_hostile_breaks_the_page():
    summary = DebuggerSummary(
        HOSTILE,
        HOSTILE,
        HOSTILE,
        HOSTILE,
        HOSTILE,
        (HOSTILE,),
        (HOSTILE,) * 99,
        {HOSTILE: HOSTILE},
        HOSTILE,
    )
    names = [HOSTILE, "</svg>", "a" * 50_000, "\u202egnp", ""]
    steps = some_steps(20, names)
    steps[3].scalars |= {HOSTILE: 1.0, "b" * 9999: math.nan}
    _, text = read(steps, HOSTILE_FINDINGS * 50, summary)
    assert "\x1b" not in text
    assert "\u202e" not in text
    lines = debugger_text(summary, steps, HOSTILE_FINDINGS * 50)
    assert "\x1b" not in lines
    assert max(map(len, lines.split("\n"))) < 20_000


def test_a_large_run_is_a_small_file():
    noise = random.Random(1)
    known = [[10 ** noise.uniform(-9, 1) for _ in range(200)] for _ in range(50)]
    steps = steps_of(layers(200), 20_000, lambda step: known[step % 50])
    read(steps, [found(step=9000)])


def test_thousands_of_layers_are_a_small_file():
    noise = random.Random(2)
    values = [10 ** noise.uniform(-9, 1) for _ in range(6000)]
    page, _ = read(
        steps_of(layers(6000), 40, lambda _: values), [found(step=9, layers=(layers(6000)[5],))]
    )
    assert "6,000 tensors share 500 rows" in page.text
    assert "Last values of 6,000 tensors (600 are shown)" in page.text


def test_steps_are_told_apart_by_optimizer_and_put_in_order():
    steps = [StepRecord(1, 0.0, 1), StepRecord(2, 0.0), StepRecord(1, 0.0, scalars={"loss": 3.0})]
    runs = optimizers(steps)
    assert {index: [r.step for r in records] for index, records in runs.items()} == {
        0: [1, 2],
        1: [1],
    }
    assert curve_of(runs[0], "loss", "loss").points == ((1, 3.0),)


# -- text --------------------------------------------------------------------------------------


def test_the_text_has_findings_and_strips():
    text = debugger_text(SUMMARY, some_steps(), [found()], width=80)
    lines = text.splitlines()
    assert lines[0] == "digits: Stopped"
    assert "[1] vanishing_gradient at step 12 (stopped the job)" in lines
    assert any(line.lstrip().startswith("loss █") for line in lines)
    (row,) = [line for line in lines if line.startswith(">") and " a " in line]
    assert len(set(row.split()[-1])) == 1
    assert all(len(line) <= 80 for line in lines)


def test_the_text_shows_what_is_zero_and_what_is_not_finite():
    steps = steps_of(["a", "b", "c"], 9, lambda _: [0.0, math.nan, 1.0])
    rows = {
        line.split()[0]: line.split()[1]
        for line in debugger_text(SUMMARY, steps, []).splitlines()[-3:]
    }
    assert set(rows["a"]) == {"0"}
    assert set(rows["b"]) == {"!"}

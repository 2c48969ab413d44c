"""The debugger's report in a real browser: pictures are drawn, nothing runs, everything can be read."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from orchestrator.report.debugger import DebuggerSummary, debugger_page
from tests.e2e.chromium import Chromium
from tests.e2e.sight import (
    LEAST_CONTRAST,
    SCREENS,
    TEXTS,
    browser,
    complaints,
    contrast,
    keep,
    overlaps,
    requests,
    text,
)
from tests.unit.report.traces import layers, steps_of

__all__ = ["browser"]

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(180)]

ATTACK = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
FLAG = re.compile(r"(stop )?\d+(,\d+)*")
NAMES = [*layers(30), ATTACK]
FINDINGS = [
    {
        "rule": "vanishing_gradient", "name": ATTACK, "step": 120, "optimizer": 0, "layers": NAMES[:12], "stop": False,
        "message": ATTACK, "cause": ATTACK, "remedies": ["use ReLU", ATTACK], "values": {"ratio": -9.3, ATTACK: 1.0},
    },
    {"rule": "non_finite", "step": 880, "optimizer": 0, "layers": [], "stop": True, "message": "not finite"},
    {"rule": "non_finite", "step": 881, "optimizer": 0, "layers": [], "stop": False, "message": "not finite"},
]  # fmt: skip


def gradients(step: int) -> list[float | None]:
    values: list[float | None] = [10.0 ** (n / 3 - 10 + math.sin(step)) for n in range(len(NAMES))]
    values[3] = None if 300 < step < 500 else values[3]
    values[4] = 0.0 if step > 500 else values[4]
    values[5] = math.nan if step > 879 else values[5]
    return values


def scalars(step: int) -> dict[str, float]:
    loss = math.nan if step > 879 else 2.3 + math.sin(step) / 10
    return {
        "loss": loss,
        "norm": 0.5,
        "norm_before_clip": 2.0 + math.sin(step),
        "learning_rate": 0.1,
        "validation:loss": 2.0,
    }


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with all that there may be in one."""
    steps = steps_of(NAMES, 900, gradients, scalars=scalars)
    steps += steps_of(["only"], 300, lambda _: [1.0], optimizer=1)
    summary = DebuggerSummary(
        "job",
        "Stopped",
        "torch 2.13",
        "hook in the process",
        unmonitored="not to the end",
        rules=("a", "b"),
        notes=(ATTACK,),
        footer="end",
    )
    path = tmp_path_factory.mktemp("report") / "debugger.html"
    path.write_text(debugger_page("job: Stopped", summary, steps, FINDINGS), encoding="utf-8")
    return path


def test_the_file_is_all_there_is(browser: Chromium, report: Path) -> None:
    browser.open(report, width=1280)
    assert {address for address in requests(browser) if not address.startswith("data:")} == {
        report.as_uri()
    }
    assert complaints(browser) == []
    assert browser.evaluate("document.title") == "job: Stopped"
    assert browser.evaluate("document.querySelectorAll('img, script, body style').length") == 0


def test_pictures_are_drawn(browser: Chromium, report: Path) -> None:
    browser.open(report, width=1280)
    drawn = browser.evaluate(
        "Promise.all([...document.querySelectorAll('image')].map(each => { const one = new Image();"
        "one.src = each.href.baseVal; return one.decode(); })).then(all => all.length)"
    )
    assert drawn == 4
    boxes = browser.evaluate(
        "[...document.querySelectorAll('image')].map(each => each.getBoundingClientRect()).map(each => [each.width, each.height])"
    )
    assert all(width > 700 and height > 10 for width, height in boxes)


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_everything_fits_and_can_be_read(
    browser: Chromium, report: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    browser.open(report, width=width, scheme=scheme)
    text(browser)
    whole = browser.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert whole[0] <= whole[1] == width  # only charts scroll sideways
    pieces = json.loads(browser.evaluate(TEXTS))
    assert len(pieces) > 100
    assert [p["text"] for p in pieces if p["box"][0] < 0 or p["box"][2] > width] == []
    assert overlaps(pieces) == []
    # What lies on a coloured flag has the colour of the page, which TEXTS takes for its paper.
    faint = [p for p in pieces if contrast(p["ink"], p["paper"]) < LEAST_CONTRAST]
    assert [p for p in faint if not FLAG.fullmatch(p["text"])] == []
    assert [p["text"] for p in pieces if p["pixels"] < 10] == []
    keep(browser, tmp_path / f"debugger-{width}-{scheme}.png")

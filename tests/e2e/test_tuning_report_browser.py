"""A tuning job's report in a real browser: its plots are drawn, nothing else runs, nothing leaves the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.spec.ranges import CategoricalParameter
from orchestrator.spec.tuning import TuningObjective
from orchestrator.tuner.analyst import Analyst
from tests.e2e.chromium import Chromium
from tests.e2e.sight import browser, complaints, keep, requests, text
from tests.unit.tuner.judged import RATE, WIDTH, failed, record, searched, stopped
from tests.unit.tuner.world import tuning_spec

__all__ = ["browser"]

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(180)]

ATTACK = "</script><img src=x onerror=document.title='owned'>"
LINK = "<a href='http://127.0.0.1:9/'>l</a>"
KIND = CategoricalParameter(name="<b>kind</b> &lt;", values=("one", ATTACK))
TITLES = ["History", "Parallel coordinates", "Slices", "Importance"]
SHOWN = "[...document.querySelectorAll('svg text')].map(each => each.textContent).join('|')"


def one_objective() -> str:
    """A page whose names do all that they can against it."""
    spec = tuning_spec(RATE, WIDTH, KIND, objectives=(TuningObjective(metric_name=f"loss{LINK}"),))
    jobs = [
        each.model_copy(update={"values": each.values | {KIND.name: KIND.values[place % 2]}})
        for place, each in enumerate(searched(30))
    ]
    jobs += [stopped(31, jobs[3].values, 2.0), failed(32, jobs[2].values)]
    return Analyst().report(record(spec, message=ATTACK), jobs)


def two_objectives() -> str:
    objectives = (
        TuningObjective(metric_name="loss"),
        TuningObjective(metric_name="speed", type="Maximize"),
    )
    jobs = [
        each.model_copy(update={"objectives": (each.objectives[0], float(each.values["width"]))})
        for each in searched(10)
    ]
    return Analyst().report(record(tuning_spec(RATE, WIDTH, objectives=objectives)), jobs)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    found = {"one": one_objective(), "two": two_objectives()}
    for name, page in found.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in found}


@pytest.mark.parametrize(("name", "plots"), [("one", 4), ("two", 7)])
def test_all_plots_are_drawn_from_the_file_alone(
    browser: Chromium, pages: dict[str, Path], tmp_path: Path, name: str, plots: int
) -> None:
    browser.open(pages[name], width=1280)
    assert requests(browser) == [pages[name].as_uri()]
    assert complaints(browser) == []
    drawn = "[...document.querySelectorAll('.plot')].map(each => !!each.querySelector('.main-svg path'))"
    assert browser.evaluate(drawn) == [True] * plots
    buttons = "[...document.querySelectorAll('.modebar-btn')].map(each => each.dataset.title)"
    assert not [title for title in browser.evaluate(buttons) if "Share" in (title or "")]
    keep(browser, tmp_path / f"tuning-{name}.png")


def test_names_are_text_and_nothing_else(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["one"], width=1280)
    assert browser.evaluate("document.title") == "t: Completed"
    assert browser.evaluate("document.querySelectorAll('img, body a[href^=http]').length") == 0
    assert browser.evaluate("[...document.querySelectorAll('h3')].map(e => e.innerText)") == TITLES
    shown = browser.evaluate(SHOWN)
    assert f"loss{LINK}" in shown
    assert KIND.name in shown
    assert ATTACK in text(browser, "main")


def test_a_front_is_shown_and_importance_of_few_is_refused(
    browser: Chromium, pages: dict[str, Path]
) -> None:
    browser.open(pages["two"], width=390, scheme="dark")
    shown = text(browser, "main")
    assert "Pareto front" in shown
    assert "Training jobs that no other one beats" in shown
    assert shown.count("importance needs 11 training jobs") == 2


def test_a_script_that_slips_in_does_not_run(
    browser: Chromium, pages: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.html"
    slipped = "<script>document.title='owned'</script><img src=http://127.0.0.1:9/x>"
    whole = pages["two"].read_text(encoding="utf-8")
    copy.write_text(whole.replace("</main>", f"{slipped}</main>"), encoding="utf-8")
    browser.open(copy, width=1280)
    assert browser.evaluate("document.title") == "t: Completed"
    assert {said["entry"]["source"] for said in browser.said("Log.entryAdded")} == {"security"}
    assert {said["blockedReason"] for said in browser.said("Network.loadingFailed")} == {"csp"}

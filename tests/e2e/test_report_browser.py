"""``orchestrator open`` in a real browser: what people see, that nothing runs, and that nothing leaves the file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chromium import Chromium, chromium
from tests.e2e.command import cli, command_home, script

__all__ = ["command_home"]

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(180)]

ATTACK = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
GOOD = """
import math
from orchestrator_runtime import report_metric
for step in range(60):
    for name in ("train:loss", "validation:loss", "some.framework/with_a_very_long_metric_name"):
        report_metric(name, math.exp(-step / 10) + len(name) / 30, step=step * 1000)
    print("epoch", step)
open("/opt/ml/model/weights", "w").write("w" * 100)
"""
BAD = f"""
from orchestrator_runtime import report_metric
for step in range(40):
    report_metric("train:loss", float("nan") if step == 20 else 1 / (step + 1), step=step)
    print("step", step)
attack = {ATTACK!r}
print(attack)
print("\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07\\x1b[2Jcleared \\u202egnp.exe")
print("x" * 10_000_000)
print("</pre></details><style>body {{ display: none }}</style>")
raise ValueError(attack + "y" * 2000)
"""
SCREENS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3 (AA)

# What is seen of every piece of text: its box, cut by what scrolls around it, its colours.
TEXTS = """
(() => {
  const cut = (box, by) => ({left: Math.max(box.left, by.left), top: Math.max(box.top, by.top),
    right: Math.min(box.right, by.right), bottom: Math.min(box.bottom, by.bottom)});
  const rgb = colour => colour.match(/[0-9.]+/g).map(Number);
  const background = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let number = 0; walker.nextNode(); number++) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || !parent.checkVisibility() || parent.closest('title')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const block = parent.closest('pre');
    const boxes = block ? [block.getBoundingClientRect()] : [...range.getClientRects()];
    const style = getComputedStyle(parent);
    const ink = parent.closest('svg') ? style.fill : style.color;
    for (let box of boxes) {
      for (let at = parent; at; at = at.parentElement)
        if (at !== document.documentElement && getComputedStyle(at).overflowX !== 'visible')
          box = cut(box, at.getBoundingClientRect());
      if (box.right - box.left < 1 || box.bottom - box.top < 1) continue;
      found.push({node: number, text: node.data.trim().slice(0, 40), ink: rgb(ink).slice(0, 3),
        paper: background(parent), pixels: parseFloat(style.fontSize),
        box: [box.left, box.top, box.right, box.bottom]});
    }
  }
  return JSON.stringify(found);
})()
"""


@pytest.fixture(scope="module")
def reports(command_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a job that completed on two hosts and of one that does all it can against its report."""
    del command_home
    folder = tmp_path_factory.mktemp("reports")
    common = ["--quiet", "-e", f"GREETING={ATTACK}", "-e", f"LONG={'z' * 500}", "--tag", "team=v"]
    words = ["-H", f"note={ATTACK}", "-e", "MY_TOKEN=hunter2", *common]
    done = cli("run", script(folder, GOOD, "good.py"), "--name", "good", "--instance-count", "2")
    assert done.returncode == 0, done.stderr
    done = cli("run", script(folder, BAD, "bad.py"), "--name", "bad", *words)
    assert done.returncode == 1, done.stderr
    found = {}
    for name in ("good", "bad"):
        found[name] = folder / f"{name}.html"
        done = cli("open", name, "--output", str(found[name]))
        assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for all tests of the module."""
    with chromium(tmp_path_factory.mktemp("browser") / "chromium") as browser:
        yield browser


def complaints(browser: Chromium) -> list[Any]:
    """Everything that the browser's console would show."""
    methods = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    return [said for method in methods for said in browser.said(method)]


def requests(browser: Chromium) -> list[str]:
    """Addresses that the page has asked for."""
    return [said["request"]["url"] for said in browser.said("Network.requestWillBeSent")]


def text(browser: Chromium, selector: str = "body") -> str:
    """What is read on the page, also in folded parts."""
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    shown: str = browser.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
    return shown


# -- nothing runs, nothing leaves ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["good", "bad"])
def test_the_file_is_all_there_is(browser: Chromium, reports: dict[str, Path], name: str) -> None:
    browser.open(reports[name], width=1280)
    assert requests(browser) == [reports[name].as_uri()]
    assert complaints(browser) == []
    assert browser.evaluate("document.scripts.length") == 0
    assert reports[name].stat().st_size < 500_000


def test_hostile_output_is_text_and_nothing_else(
    browser: Chromium, reports: dict[str, Path]
) -> None:
    browser.open(reports["bad"], width=1280)
    assert browser.evaluate("document.title") == "bad: Failed"
    assert browser.evaluate("document.querySelectorAll('img, script, body style').length") == 0
    assert browser.evaluate("getComputedStyle(document.body).display") == "block"
    shown = text(browser)
    assert shown.count(ATTACK) >= 4  # reason, log, environment, hyperparameter
    assert "</pre></details><style>body { display: none }</style>" in shown
    assert "red cleared gnp.exe" in " ".join(shown.split())
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "more characters)" in shown
    assert "hunter2" not in reports["bad"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "slipped",
    [
        "<script>document.title='owned'</script>",
        "<img src=x onerror=\"document.title='owned'\">",
        "<img src=http://127.0.0.1:9/x>",
        "<iframe src=\"javascript:parent.document.title='owned'\"></iframe>",
        "<link rel=stylesheet href=http://127.0.0.1:9/x>",
    ],
)
def test_the_policy_stops_what_would_slip_in_and_the_browser_says_so(
    browser: Chromium, reports: dict[str, Path], tmp_path: Path, slipped: str
) -> None:
    copy = tmp_path / "copy.html"
    whole = reports["good"].read_text(encoding="utf-8")
    copy.write_text(whole.replace("</main>", f"{slipped}</main>"), encoding="utf-8")
    browser.open(copy, width=1280)
    assert browser.evaluate("document.title") == "good: Completed"
    assert {said["entry"]["source"] for said in browser.said("Log.entryAdded")} == {"security"}
    failed = browser.said("Network.loadingFailed")
    assert {said["blockedReason"] for said in failed} <= {"csp"}
    assert len(requests(browser)) == 1 + len(failed)


# -- what is seen -------------------------------------------------------------------------------


def test_a_completed_job_is_seen_whole(browser: Chromium, reports: dict[str, Path]) -> None:
    browser.open(reports["good"], width=1280)
    assert "Training" in text(browser, ".lane")
    assert browser.evaluate("document.querySelectorAll('.lane svg.bars rect').length") >= 2
    curves = browser.evaluate(
        "[...document.querySelectorAll('.card polyline')].map(each => each.points.length)"
    )
    assert curves == [120, 120, 120]
    drawn = browser.evaluate(
        "[...document.querySelectorAll('.card svg')].every(each => "
        "each.getBoundingClientRect().height > 100)"
    )
    assert drawn
    shown = text(browser)
    for part in ("algo-1, attempt 1", "algo-2, attempt 1", "epoch 59", "model.tar.gz", "sandbox"):
        assert part in shown, part


def test_a_failed_job_says_why_first(browser: Chromium, reports: dict[str, Path]) -> None:
    browser.open(reports["bad"], width=1280)
    reason = text(browser, ".failure")
    assert reason.startswith("ValueError: <script>")
    for part in ("exit_code", "bad.py:11", "exit code 1", "Last lines of the log"):
        assert part in reason, part
    assert browser.evaluate("document.querySelector('.failure').getBoundingClientRect().top") < 300
    assert browser.evaluate("document.querySelectorAll('.card polyline').length") == 2  # a gap
    assert browser.evaluate("document.querySelectorAll('.card .odd').length") == 1
    shown = text(browser)
    for part in ("GREETING", "z" * 500, "MY_TOKEN\t***", "step 39", "team\tv"):
        assert part in shown, part


def test_a_log_is_opened_at_its_end(browser: Chromium, reports: dict[str, Path]) -> None:
    browser.open(reports["good"], width=1280)
    end = browser.evaluate(
        "(() => { const tail = document.querySelector('.tail').getBoundingClientRect();"
        "const log = document.querySelector('.tail pre').getBoundingClientRect();"
        "return [tail.bottom - log.bottom, log.height - tail.height]; })()"
    )
    assert abs(end[0]) < 3
    assert end[1] > 100


def test_on_a_phone_the_history_has_its_messages_below(
    browser: Chromium, reports: dict[str, Path]
) -> None:
    browser.open(reports["bad"], width=390)
    text(browser)
    sizes = browser.evaluate(
        "[...document.querySelectorAll('.stack td.long')].map(each => {"
        "const box = each.getBoundingClientRect(); return [box.width, box.right]; })"
    )
    assert len(sizes) >= 4
    assert all(width > 300 and right <= 390 for width, right in sizes)


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize(("width", "scheme"), SCREENS)
@pytest.mark.parametrize("name", ["good", "bad"])
def test_everything_fits_and_can_be_read(
    browser: Chromium,
    reports: dict[str, Path],
    tmp_path: Path,
    name: str,
    width: int,
    scheme: str,
    folded: bool,
) -> None:
    browser.open(reports[name], width=width, scheme=scheme)
    if not folded:
        text(browser)
    whole = browser.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert whole[0] <= whole[1] == width  # no scrolling sideways
    pieces = json.loads(browser.evaluate(TEXTS))
    assert len(pieces) > 40
    assert [p["text"] for p in pieces if p["box"][0] < 0 or p["box"][2] > width] == []
    assert overlaps(pieces) == []
    assert [p for p in pieces if contrast(p["ink"], p["paper"]) < LEAST_CONTRAST] == []
    assert [p["text"] for p in pieces if p["pixels"] < 10] == []
    paper = luminance(pieces[0]["paper"])
    assert paper < 0.1 if scheme == "dark" else paper > 0.9
    keep(browser, tmp_path / f"{name}-{width}-{scheme}-{'folded' if folded else 'open'}.png")


def test_a_printed_report_has_the_whole_log(browser: Chromium, reports: dict[str, Path]) -> None:
    browser.open(reports["good"], width=800)
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        size = browser.evaluate(
            "(() => { const tail = document.querySelector('.tail');"
            "return [tail.scrollHeight - tail.clientHeight, document.body.scrollWidth]; })()"
        )
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
    assert size[0] <= 0
    assert size[1] <= 800


def keep(browser: Chromium, path: Path) -> None:
    """Check that the page can be drawn; the picture stays where ORCHESTRATOR_TEST_PICTURES says."""
    folder = os.environ.get("ORCHESTRATOR_TEST_PICTURES")
    path = Path(folder) / path.name if folder else path
    browser.screenshot(path)
    assert path.stat().st_size > 10_000


def overlaps(pieces: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of texts of which one lies on the other by more than the edge of a letter."""
    found = []
    for place, one in enumerate(pieces):
        for other in pieces[place + 1 :]:
            if one["node"] == other["node"]:
                continue
            (a, b, c, d), (e, f, g, h) = one["box"], other["box"]
            if min(c, g) - max(a, e) > 2 and min(d, h) - max(b, f) > 4:
                found.append((one["text"], other["text"]))
    return found


def luminance(colour: list[float]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    parts = [each / 255 for each in colour]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)

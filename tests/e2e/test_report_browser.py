"""``orchestrator open`` in a real browser: what people see, that nothing runs, and that nothing leaves the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.chromium import Chromium
from tests.e2e.command import cli, command_home, script
from tests.e2e.sight import (
    LEAST_CONTRAST,
    SCREENS,
    TEXTS,
    browser,
    complaints,
    contrast,
    keep,
    luminance,
    overlaps,
    requests,
    text,
)

__all__ = ["browser", "command_home"]

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

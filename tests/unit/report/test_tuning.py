"""The page about a tuning job."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from orchestrator.report.tuning import Figure, Part, TuningReport, render_tuning, script
from orchestrator.spec.ranges import CategoricalParameter
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.tuner.overview import overview_of
from orchestrator.tuner.results import results_of
from tests.unit.tuner.judged import RATE, START, failed, job, record, searched
from tests.unit.tuner.world import tuning_spec

LIBRARY = "var Plotly = {};"
PLOT = Figure("History", '{"data":[{"name":"</script><b>"}],"layout":{}}')


def rendered(*jobs, parts=(), spec=None, **changes) -> str:
    known = record(spec or tuning_spec(RATE), **changes)
    (results,) = results_of(known.spec, jobs)
    overview = overview_of(known, jobs)
    best = results.best_first(0)
    return render_tuning(TuningReport(overview, best, parts, LIBRARY, START, "1.0"))


def test_the_head_says_how_it_came_out():
    page = rendered(*searched(3), failed(4, {"rate": "0.5"}), message="<i>done</i>")
    for words in ("best loss <b>0.333333</b>", "training job <b>t-001</b>", "completed <b>3</b>"):
        assert words in page
    assert "failed <b>1</b>" in page
    assert "running <b>" not in page
    assert "&lt;i&gt;done&lt;/i&gt;" in page


def test_a_failure_has_its_reason():
    status = TrainingJobStatus.FAILED
    page = rendered(failed(1, {"rate": "0.5"}), status=status, failure_reason="5 of 5: no <data>")
    assert "5 of 5: no &lt;data&gt;" in page
    assert "<script" not in page


def test_only_the_scripts_of_the_page_may_run():
    page = rendered(*searched(3), parts=(Part("loss", (PLOT,), ("few <results>",)),))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert scripts[0] == LIBRARY
    assert "\\u003c/script>\\u003cb>" in scripts[1]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"&#x27;sha256-{digest}&#x27;" for digest in digests)
    assert f"script-src {allowed}" in policy[1]
    assert "connect-src &#x27;none&#x27;" in policy[1]
    assert "unsafe-inline" not in policy[1].partition("script-src")[2]
    assert "few &lt;results&gt;" in page
    assert '<div id="plot-0">' in page


def test_values_with_secret_names_are_hidden():
    keys = CategoricalParameter(name="api_key", values=("hush-hush", "other"))
    page = rendered(job(1, {"api_key": "hush-hush"}, 0.5), spec=tuning_spec(keys))
    assert "hush-hush" not in page
    assert "api_key" in page


@pytest.mark.parametrize("text", ["x</SCRIPT>", "a <script> b"])
def test_a_script_that_would_end_its_element_is_refused(text):
    with pytest.raises(ValueError, match="must not contain"):
        script(text)

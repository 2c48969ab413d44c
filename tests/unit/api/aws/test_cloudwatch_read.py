"""GetMetricStatistics, GetMetricData and ListMetrics: no wrong answers, and pages that lose nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.aws.cloudwatch import CloudWatch
from orchestrator.api.aws.cloudwatch_names import JOBS
from orchestrator.metrics.periods import Sums, Window
from orchestrator.metrics.points import GivenValue
from orchestrator.service.metrics import MetricService
from orchestrator.service.tokens import PageTokens
from tests.unit.api.aws.cloudwatch_world import (
    CALLER,
    MINUTE,
    CloudWatchWorld,
    job_value,
    of_job,
    query,
    refused,
)


def test_a_loss_beyond_all_measure_is_left_out(world: CloudWatchWorld) -> None:
    """A job prints what it likes; a sum of it must not be beyond a float."""
    world.start("job")
    time_us = int(MINUTE.timestamp() * 1_000_000)
    printed = [1e308, 1e308, float("nan"), float("inf"), 3.0]
    world.metrics.put({"job": [GivenValue("m", value, time_us) for value in printed]})
    (point,) = world.statistics(
        Namespace=JOBS,
        Dimensions=of_job("job"),
        Statistics=["Sum", "Average", "Maximum", "SampleCount"],
        ExtendedStatistics=["p99"],
    )
    assert [point[name] for name in ("Sum", "Average", "Maximum", "SampleCount")] == [3, 3, 3, 1]
    assert point["ExtendedStatistics"] == {"p99": 3}


def test_units_are_not_mixed(world: CloudWatchWorld) -> None:
    world.put(
        {"MetricName": "m", "Value": 1.0, "Unit": "Seconds"},
        {"MetricName": "m", "Value": 1000.0, "Unit": "Bytes"},
        {"MetricName": "m", "Value": 5.0},
    )
    found = world.statistics(ExtendedStatistics=["p50"])
    assert [(point["Unit"], point["Sum"]) for point in found] == [
        ("Bytes", 1000),
        ("None", 5),
        ("Seconds", 1),
    ]
    assert [point["ExtendedStatistics"]["p50"] for point in found] == [1000, 5, 1]
    assert [point["Sum"] for point in world.statistics(Unit="Seconds")] == [1]
    assert [point["Sum"] for point in world.statistics(Unit="None")] == [5]
    assert world.statistics(Unit="Percent") == []
    answers = world.data(query("a", Unit="Bytes"), query("b", Unit="Count"))["MetricDataResults"]
    assert [answer["Values"] for answer in answers] == [[1000], []]


@pytest.mark.parametrize("period", [2, 7, 15, 59, 61, 90])
def test_a_period_is_one_of_cloudwatch_s(world: CloudWatchWorld, period: int) -> None:
    text = "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60."
    assert refused(world.statistics, Period=period) == ("InvalidParameterValue", text)
    assert refused(world.data, query("a", Period=period)) == ("ValidationError", text)


@pytest.mark.parametrize("period", [5, 30, 60, 300, 86400])
def test_periods_of_cloudwatch_are_served(world: CloudWatchWorld, period: int) -> None:
    world.put({"MetricName": "m", "Value": 1.0})
    assert [point["Sum"] for point in world.statistics(Period=period)] == [1]


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0, "The parameter StartTime must not equal parameter EndTime."),
        (-1, "The parameter StartTime must be less than the parameter EndTime."),
    ],
)
def test_time_runs_forwards(world: CloudWatchWorld, hours: int, text: str) -> None:
    end = MINUTE + timedelta(hours=hours)
    assert refused(world.statistics, EndTime=end) == ("InvalidParameterValue", text)
    assert refused(world.data, query("a"), EndTime=end) == ("ValidationError", text)


def test_an_answer_has_at_most_1440_datapoints(world: CloudWatchWorld) -> None:
    assert world.statistics(EndTime=MINUTE + timedelta(days=1)) == []
    code, text = refused(world.statistics, EndTime=MINUTE + timedelta(days=1, seconds=1))
    assert code == "InvalidParameterCombination"
    assert text.startswith(
        "You have requested up to 1,441 datapoints, which exceeds the limit of 1,440."
    )


@pytest.mark.parametrize("order", ["TimestampAscending", "TimestampDescending"])
@pytest.mark.parametrize("most", [1, 2, 3, 5, 100])
def test_pages_of_data_have_every_point_once(
    world: CloudWatchWorld, most: int, order: str
) -> None:
    for place in range(5):
        time = MINUTE + timedelta(minutes=place)
        for unit in ("Bytes", "None"):
            world.put({"MetricName": "m", "Value": place, "Timestamp": time, "Unit": unit})
    queries = (query("a"), query("none", "other"), query("b", Unit="Bytes"))
    (whole, none, one_unit) = world.data(*queries, ScanBy=order)["MetricDataResults"]
    assert (len(whole["Values"]), none["Values"], len(one_unit["Values"])) == (10, [], 5)
    found: dict[str, list[Any]] = {}
    complete: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = world.data(*queries, ScanBy=order, MaxDatapoints=most, **token)
        results = answer["MetricDataResults"]
        assert sum(len(result["Values"]) for result in results) <= most
        for result in results:
            found.setdefault(result["Id"], []).extend(
                zip(result["Timestamps"], result["Values"], strict=True)
            )
            complete += [result["Id"]] if result["StatusCode"] == "Complete" else []
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert complete == ["a", "none", "b"]
    for result in (whole, none, one_unit):
        pairs = list(zip(result["Timestamps"], result["Values"], strict=True))
        assert found[result["Id"]] == pairs


def test_a_token_is_good_for_its_queries_only(world: CloudWatchWorld) -> None:
    for place in range(3):
        world.put(
            {"MetricName": "m", "Value": 1.0, "Timestamp": MINUTE + timedelta(minutes=place)}
        )
    token = world.data(query("a"), MaxDatapoints=1)["NextToken"]
    assert world.data(query("a"), MaxDatapoints=9, NextToken=token)["MetricDataResults"]
    for other, given in ((query("a", stat="Maximum"), token), (query("a"), '[0,[1,""]]')):
        code, _ = refused(world.data, other, NextToken=given)
        assert code == "InvalidNextToken"


@pytest.mark.parametrize(
    ("queries", "more"),
    [
        ([query("a"), query("a")], {}),
        ([query(f"q{n}") for n in range(501)], {}),
        ([query("a")], {"MaxDatapoints": 0}),
        ([query("a")], {"MaxDatapoints": 100_801}),
    ],
)
def test_what_is_no_request_for_data_is_refused(
    world: CloudWatchWorld, queries: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    assert refused(world.data, *queries, **more)[0] == "ValidationError"


class Counting(MetricService):
    """Counts how often a metric is read."""

    reads = 0

    def sums(self, window: Window) -> list[Sums]:
        self.reads += 1
        return super().sums(window)


def test_a_metric_is_read_once_however_many_ask(world: CloudWatchWorld, tmp_path: Path) -> None:
    world.put({"MetricName": "m", "Value": 2.0}, {"MetricName": "m", "Value": 4.0})
    metrics = Counting(tmp_path / "metrics.sqlite3", world.store, world.metrics._workspace)
    world.cloudwatch = CloudWatch(metrics, PageTokens(world.store), world.clock)
    stats = ["Sum", "Average", "Minimum", "Maximum", "p0", "p50"] * 3
    answers = world.data(*(query(f"q{n}", stat=stat) for n, stat in enumerate(stats)))
    found = [answer["Values"] for answer in answers["MetricDataResults"]]
    assert found == [[6], [3], [2], [4], [2], [3]] * 3
    assert metrics.reads == 1
    metrics.close()


def test_every_metric_is_on_one_page(world: CloudWatchWorld) -> None:
    """Names whose order differs with and without quotes, capitals and accents."""
    names = ["a", "a b", "a!", 'a"', "A", "é", "z", "_"]
    world.start(*(f"job-{n}" for n in range(30)), "Job-A", "jobs")
    for job in [*(f"job-{n}" for n in range(30)), "Job-A", "jobs"]:
        world.metrics.put({job: [GivenValue(name, 1.0, 5) for name in names]})
    dimensions = [[{"Name": "D", "Value": str(n)}] for n in range(100)]
    world.put(*({"MetricName": n, "Dimensions": d, "Value": 1} for n in names for d in dimensions))
    world.put({"MetricName": "a", "Value": 1.0}, namespace="z")
    found = world.listed()
    assert len(found) == len(set(found)) == 32 * 8 + 800 + 1
    assert len(world.listed(Namespace="team")) == 800
    assert len(world.listed(Namespace=JOBS)) == 32 * 8
    assert len(world.listed(MetricName="a")) == 32 + 100 + 1
    assert len(world.listed(Namespace=JOBS, Dimensions=of_job("jobs"))) == 8
    assert len(world.listed(Dimensions=[{"Name": "D", "Value": "7"}])) == 8
    assert len(world.listed(Dimensions=[{"Name": "D"}])) == 800


def test_a_list_goes_on_where_it_stopped_whatever_came_meanwhile(world: CloudWatchWorld) -> None:
    world.put(*({"MetricName": f"m{n:03}", "Value": 1.0} for n in range(501)))
    page = world.cloudwatch.list_metrics({}, CALLER)
    world.put({"MetricName": "a", "Value": 1.0}, {"MetricName": "z", "Value": 1.0})
    rest = world.cloudwatch.list_metrics({"NextToken": page["NextToken"]}, CALLER)
    assert [metric["MetricName"] for metric in rest["Metrics"]] == ["m500", "z"]
    for asked in ({"Namespace": "team"}, {}):
        token = page["NextToken"] if asked else "x"
        code, _ = refused(world.cloudwatch.list_metrics, {**asked, "NextToken": token}, CALLER)
        assert code == "InvalidParameterValue"


def test_metrics_of_jobs_that_are_none_are_not_listed(world: CloudWatchWorld) -> None:
    world.start("known")
    world.put(job_value("known"), namespace=JOBS)
    world.metrics._points.append("forgotten", list(world.metrics._points.iterate("known")))
    assert world.listed() == [(JOBS, "m", "known")]


def test_only_metrics_with_new_values_are_recently_active(world: CloudWatchWorld) -> None:
    old = world.clock.now() - timedelta(hours=4)
    world.put(
        {"MetricName": "old", "Value": 1.0, "Timestamp": old}, {"MetricName": "new", "Value": 1}
    )
    assert world.listed(RecentlyActive="PT3H") == [("team", "new", "")]

from __future__ import annotations

import math
import statistics

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.rules import Engine, judge_of
from orchestrator_runtime.rules.profiler.base import quantile
from orchestrator_runtime.rules.profiler.reports import Percentages
from orchestrator_runtime.rules.profiler.steps import MaxInitializationTime

from tests.unit.rules.steps import findings, fired_at, sample, step

percents = st.sampled_from([0, 10, 50, 60, 70, 90, 100]) | st.floats(0, 100, width=32)
EACH = {"scan_interval_us": 1}
"""Look at every sample."""


def fired_after(rule, samples, parameters):
    """The number of samples after which a rule fires, None if it does not."""
    engine = Engine([judge_of(rule, parameters)])
    for number, each in enumerate(samples):
        if engine.observe_system(each):
            return number
    return None


def samples(rows, kind):
    """Samples of (busy, GPU) pairs; a GPU of None is a sample without any."""
    return [
        sample(number, **{kind: busy}, gpus=() if gpu is None else ((gpu, 0.0),))
        for number, (busy, gpu) in enumerate(rows)
    ]


@given(st.lists(percents, min_size=1), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values, share):
    assert quantile(values, share) == pytest.approx(numpy.quantile(values, share), abs=1e-6)


@pytest.mark.parametrize(
    ("rule", "kind", "limit", "gpu_limit"),
    [("CPUBottleneck", "cpu", 90, 10), ("IOBottleneck", "wait", 50, 70)],
)
class TestBottlenecks:
    @given(
        rows=st.lists(st.tuples(percents, st.none() | percents), max_size=12),
        patience=st.integers(1, 4),
        threshold=st.sampled_from([0, 30, 50]),
    )
    def test_fires_by_the_share_of_samples(
        self, rule, kind, limit, gpu_limit, rows, patience, threshold
    ):
        expected, seen = None, []
        for number, (busy, gpu) in enumerate(rows):
            if gpu is not None:
                seen.append(busy > limit and gpu < gpu_limit)
            share = 100 * sum(seen) / len(seen) if seen else 0
            if number and len(seen) >= patience and share > threshold:
                expected = number
                break
        parameters = {**EACH, "patience": patience, "threshold": threshold}
        assert fired_after(rule, samples(rows, kind), parameters) == expected

    def test_without_a_gpu_it_is_not_evaluated(self, rule, kind, limit, gpu_limit):
        engine = Engine([judge_of(rule, EACH)])
        for number in range(3):
            assert not engine.observe_system(sample(number, cpu=100.0, wait=100.0))
        assert "no GPU" in engine.not_evaluated()[rule]


class TestScans:
    def test_a_rule_looks_once_per_interval(self):
        parameters = {"patience": 1, "scan_interval_us": 10_000_000}
        idle = [sample(seconds, cpu=100.0, gpus=((0.0, 0.0),)) for seconds in range(30)]
        assert fired_after("CPUBottleneck", idle, parameters) == 10

    def test_by_default_after_a_minute_and_a_hundred_samples(self):
        idle = [sample(seconds, cpu=100.0, gpus=((0.0, 0.0),)) for seconds in range(200)]
        assert fired_after("CPUBottleneck", idle, None) == 120

    def test_a_finding_names_the_step(self):
        items = [sample(0), step(41), sample(61, cpu=100.0, gpus=((0.0, 0.0),))]
        (found,) = findings("CPUBottleneck", items, {"patience": 1})
        assert found.step == 41


class TestUtilization:
    @given(st.lists(percents, max_size=12), st.integers(1, 5), st.integers(1, 5))
    def test_low_and_unsteady(self, values, window, patience):
        expected = None
        for number in range(max(patience - 1, 1), len(values)):
            some = values[max(number + 1 - window, 0) : number + 1]
            high, low = numpy.quantile(some, 0.95), numpy.quantile(some, 0.05)
            if high < 70 or (high > 70 and low < 10):
                expected = number
                break
        shown = samples([(0.0, value) for value in values], "cpu")
        parameters = {**EACH, "window": window, "patience": patience}
        assert fired_after("LowGPUUtilization", shown, parameters) == expected

    @pytest.mark.parametrize(
        ("low", "high", "fires"),
        [(10, 80, False), (9, 80, True), (9, 70, False), (10, 69, True)],
    )
    def test_utilization_at_the_limits(self, low, high, fires):
        shown = samples([(0.0, low)] * 5 + [(0.0, high)] * 5, "cpu")
        parameters = {"patience": 10, "scan_interval_us": 9_000_000}
        assert (fired_after("LowGPUUtilization", shown, parameters) is not None) is fires

    @given(st.lists(st.tuples(percents, percents, percents), max_size=8), st.integers(1, 5))
    def test_batch_size(self, rows, window):
        expected = None
        for number in range(1, len(rows)):
            some = rows[max(number + 1 - window, 0) : number + 1]
            if all(numpy.quantile([row[part] for row in some], 0.95) < 70 for part in range(3)):
                expected = number
                break
        shown = [
            sample(number, cpu=cpu, gpus=((gpu, memory),))
            for number, (cpu, gpu, memory) in enumerate(rows)
        ]
        parameters = {**EACH, "window": window, "patience": 1}
        assert fired_after("BatchSize", shown, parameters) == expected


class TestMemory:
    @given(st.lists(percents, max_size=14), st.integers(1, 4))
    def test_fires_when_the_mean_has_risen(self, values, window):
        expected = None
        for number in range(2 * window - 1, len(values)):
            last = values[number + 1 - 2 * window : number + 1]
            if number and statistics.fmean(last[window:]) - statistics.fmean(last[:window]) > 10:
                expected = number
                break
        shown = [sample(n, gpus=((0.0, value),)) for n, value in enumerate(values)]
        parameters = {**EACH, "window": window, "patience": 1}
        assert fired_after("GPUMemoryIncrease", shown, parameters) == expected


class TestBalance:
    @given(st.lists(st.tuples(percents, percents), max_size=10))
    def test_fires_by_the_distance_of_histograms(self, rows):
        expected = None
        for number in range(1, len(rows)):
            seen = rows[: number + 1]
            bins = [[min(int(row[gpu] // 10), 9) for row in seen] for gpu in range(2)]
            away = sum(abs(bins[0].count(each) - bins[1].count(each)) for each in range(10))
            if away / (2 * len(seen)) > 0.5:
                expected = number
                break
        shown = [sample(n, gpus=[(value, 0.0) for value in row]) for n, row in enumerate(rows)]
        assert fired_after("LoadBalancing", shown, {**EACH, "patience": 1}) == expected

    def test_one_gpu_has_nothing_to_balance(self):
        engine = Engine([judge_of("LoadBalancing", EACH)])
        engine.observe_system(sample(0, gpus=((1.0, 1.0),)))
        assert "only one GPU" in engine.not_evaluated()["LoadBalancing"]


class TestDataloader:
    @pytest.mark.parametrize(("children", "fires"), [(0, True), (3, False), (8, False), (9, True)])
    def test_fires_outside_of_the_limits(self, children, fires):
        shown = [sample(number, cores=4, children=children) for number in (0, 60)]
        assert (fired_after("Dataloader", shown, None) == 1) is fires

    def test_without_a_count_it_is_not_evaluated(self):
        engine = Engine([judge_of("Dataloader", EACH)])
        assert [engine.observe_system(sample(number)) for number in range(2)] == [[], []]
        assert "Dataloader" in engine.not_evaluated()


class TestSteps:
    @given(st.lists(st.sampled_from([1.0, 1.0, 1.0, 1.1, 30.0]), max_size=40), st.integers(0, 3))
    def test_outliers(self, durations, ignored):
        expected, outliers = None, 0
        for number, duration in enumerate(durations):
            seen = durations[: number + 1]
            away = abs(duration - statistics.fmean(seen))
            if away > 2 * statistics.pstdev(seen) + 1e-6:
                outliers += 1
                if outliers > ignored:
                    expected = number + 1
                    break
        times = [sum(durations[:count]) for count in range(len(durations) + 1)]
        steps = [step(number, time=time) for number, time in enumerate(times)]
        parameters = {"stddev": 2, "n_outliers": ignored}
        assert fired_at("StepOutlier", steps, parameters) == expected

    def test_what_is_just_at_the_limit_is_no_outlier(self):
        """One step among four others is exactly two deviations away, whatever it took."""
        times = [0.0, 0.1, 0.2, 0.30000000000000004, 0.4, 30.4]
        steps = [step(number, time=time) for number, time in enumerate(times)]
        assert fired_at("StepOutlier", steps, {"stddev": 2, "n_outliers": 0}) is None

    def test_an_evaluation_between_two_steps_is_no_outlier(self):
        times = [*range(50), 500, 501]
        plain = [step(number, time=time) for number, time in enumerate(times)]
        assert fired_at("StepOutlier", plain, {"n_outliers": 0}) == 50
        plain[50].scalars["validation:loss"] = 1.0
        assert fired_at("StepOutlier", plain, {"n_outliers": 0}) is None

    def test_steps_of_evaluations_are_not_recorded(self):
        rule = judge_of("StepOutlier", {"mode": "EVAL", "n_outliers": 0}).make()
        assert "EVAL" in (rule.not_evaluated or "")

    @pytest.mark.parametrize(("minutes", "fires"), [(20, False), (20.1, True)])
    def test_a_slow_start(self, minutes, fires):
        rule = MaxInitializationTime(started=1000.0)
        assert (rule.observe(step(0, time=1000 + 60 * minutes)) is not None) is fires
        assert rule.observe(step(1, time=1e9)) is None

    def test_a_start_that_does_not_come(self):
        rule = MaxInitializationTime(started=0.0, threshold="1")
        assert rule.waited(None, 60.0) is None
        assert rule.waited(None, 61.0) is not None


class TestReports:
    @given(st.lists(st.integers(0, 100), min_size=1))
    def test_percentiles(self, values):
        counted = Percentages()
        for value in values:
            counted.add(value)
        ordered = sorted(values)
        summary = counted.summary()
        assert summary is not None
        assert (summary["min"], summary["max"]) == (ordered[0], ordered[-1])
        assert summary["samples"] == len(values)
        for share in (50, 90, 95, 99):
            at = max(math.ceil(len(values) * share / 100), 1) - 1
            assert summary[f"p{share}"] == ordered[at]

    def test_the_use_of_the_host_is_summed_up(self):
        engine = Engine([judge_of("OverallSystemUsage")])
        for number in range(3):
            shown = sample(number, cpu=10.0 * number, gpus=((90.0, 20.0),), resident_bytes=number)
            assert not engine.observe_system(shown)
        report = engine.reports()["OverallSystemUsage"]
        assert report["percent"]["cpu"]["max"] == 20
        assert report["percent"]["gpu0_memory"]["p50"] == 20
        assert (report["samples"], report["resident_bytes"]) == (3, 2)

    def test_so_are_steps(self):
        engine = Engine([judge_of("OverallFrameworkMetrics")])
        for number, time in enumerate((0.0, 1.0, 4.0)):
            engine.observe(step(number, time=time, skipped=number == 1))
        report = engine.reports()["OverallFrameworkMetrics"]
        assert (report["steps"], report["skipped_steps"]) == (3, 1)
        assert report["step_seconds"] == {"mean": 2.0, "deviation": 1.0, "max": 3.0, "count": 2}


class TestProfilerReport:
    def test_its_parts_take_their_parameters_in_any_case(self):
        parameters = {"cpubottleneck_Patience": "1", "CPUBottleneck_scan_interval_us": 1}
        idle = [sample(number, cpu=100.0, gpus=((0.0, 0.0),)) for number in range(2)]
        (found,) = findings("ProfilerReport", idle, parameters)
        assert found.rule == "ProfilerReport"
        assert found.message.startswith("CPUBottleneck: ")

    def test_it_speaks_once_for_each_part_and_reports_all(self):
        parameters = {**EACH, "CPUBottleneck_patience": 1, "BatchSize_patience": 1}
        parameters["BatchSize_cpu_threshold_p95"] = 100
        engine = Engine([judge_of("ProfilerReport", parameters)])
        told = []
        for number in range(6):
            told += engine.observe(step(number))
            told += engine.observe_system(sample(number, cpu=99.0, gpus=((0.0, 0.0),)))
        parts = [found.message.partition(":")[0] for _, found in told]
        assert sorted(parts) == ["BatchSize", "CPUBottleneck"]
        report = engine.reports()["ProfilerReport"]
        assert report["BatchSize"]["finding"]["rule"] == "BatchSize"
        assert report["StepOutlier"] == {"finding": None, "not_evaluated": None, "report": None}
        assert "only one GPU" in report["LoadBalancing"]["not_evaluated"]
        assert report["OverallFrameworkMetrics"]["report"]["steps"] == 6

    def test_the_host_is_sampled_for_it(self):
        assert judge_of("ProfilerReport").system
        assert judge_of("CPUBottleneck").system
        assert not judge_of("StepOutlier").system
        assert not judge_of("VanishingGradient").system

"""Rules that find nothing: they sum up what was seen, at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.base import DocumentedRule
from orchestrator_runtime.rules.parameters import Parameter, RuleError, nearest
from orchestrator_runtime.rules.profiler.base import COMMON, SystemRule
from orchestrator_runtime.rules.profiler.bottlenecks import (
    BatchSize,
    CPUBottleneck,
    IOBottleneck,
    LowGPUUtilization,
)
from orchestrator_runtime.rules.profiler.gpus import GPUMemoryIncrease, LoadBalancing
from orchestrator_runtime.rules.profiler.loading import Dataloader
from orchestrator_runtime.rules.profiler.steps import Durations, MaxInitializationTime, StepOutlier

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.rules.rule import Rule
    from orchestrator_runtime.trace.record import StepRecord, SystemSample

PERCENTILES = (50, 90, 95, 99)


class Percentages:
    """Any number of percentages in the memory of a hundred, each to the nearest whole one."""

    def __init__(self) -> None:
        self._counts = [0] * 101

    def add(self, value: float | None) -> None:
        """Count a value."""
        if value is not None:
            self._counts[min(max(round(value), 0), 100)] += 1

    def summary(self) -> dict[str, int] | None:
        """Return percentiles and extremes, None without values."""
        total = sum(self._counts)
        if not total:
            return None
        found = {f"p{share}": self._at(total * share / 100) for share in PERCENTILES}
        return {"min": self._at(0), **found, "max": self._at(total), "samples": total}

    def _at(self, rank: float) -> int:
        seen = 0
        for value, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return value
        return 100


class OverallSystemUsage(SystemRule):
    """Reports percentiles of what the host's parts were used; finds nothing."""

    name = "OverallSystemUsage"
    parameters = COMMON

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._parts: dict[str, Percentages] = {}
        self._resident = 0

    def take(self, sample: SystemSample) -> bool:
        """Count a sample."""
        self._part("cpu").add(sample.cpu)
        self._part("io_wait").add(sample.io_wait)
        for index, gpu in enumerate(sample.gpus):
            self._part(f"gpu{index}").add(gpu.utilization)
            self._part(f"gpu{index}_memory").add(gpu.memory)
        self._resident = max(self._resident, sample.resident_bytes or 0)
        return True

    def scan(self) -> Finding | None:
        """Find nothing."""
        return None

    def report(self) -> dict[str, Any] | None:
        """Return percentiles by part, in percent, and the most memory that the process had."""
        if not self.samples:
            return None
        summaries = {name: part.summary() for name, part in self._parts.items()}
        return {
            "percent": {name: each for name, each in summaries.items() if each is not None},
            "resident_bytes": self._resident,
            "samples": self.samples,
        }

    def _part(self, name: str) -> Percentages:
        return self._parts.setdefault(name, Percentages())


class OverallFrameworkMetrics(DocumentedRule):
    """Reports how long steps took; finds nothing."""

    name = "OverallFrameworkMetrics"
    saves = False
    parameters = COMMON

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._durations = Durations()
        self._longest = 0.0
        self._steps = 0
        self._skipped = 0

    def observe(self, record: StepRecord) -> Finding | None:
        """Count a step."""
        self._steps += 1
        self._skipped += record.skipped
        self._longest = max(self._longest, self._durations.take(record) or 0.0)
        return None

    def report(self) -> dict[str, Any] | None:
        """Return numbers of steps, and seconds."""
        if not self._steps:
            return None
        return {
            "steps": self._steps,
            "skipped_steps": self._skipped,
            "step_seconds": {
                "mean": self._durations.mean,
                "deviation": self._durations.deviation,
                "max": self._longest,
                "count": self._durations.count,
            },
        }


BUNDLED: tuple[type[DocumentedRule], ...] = (
    BatchSize,
    CPUBottleneck,
    Dataloader,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
    MaxInitializationTime,
    OverallSystemUsage,
    OverallFrameworkMetrics,
    StepOutlier,
)


def _bundled_parameters() -> tuple[Parameter, ...]:
    return tuple(
        parameter._replace(name=f"{rule.name}_{parameter.name}")
        for rule in BUNDLED
        for parameter in rule.parameters
        if parameter.name != "base_trial"
    )


class ProfilerReport(DocumentedRule):
    """All rules of the profiler in one; each may find something, and all are in the report.

    Parameters are named ``<Rule>_<parameter>``, in any case.
    """

    name = "ProfilerReport"
    saves = False
    repeats = True
    watches_system = True
    parameters = (*COMMON, *_bundled_parameters())

    def __init__(self, **given: Any) -> None:
        super().__init__(**_named(given))
        self._rules: dict[str, Rule] = {rule.name: self._make(rule, given) for rule in BUNDLED}
        self._found: dict[str, Finding] = {}
        self._told: set[str] = set()

    def observe(self, record: StepRecord) -> Finding | None:
        """Show a step to all."""
        for name, rule in self._open():
            self._keep(name, rule.observe(record))
        return self._tell()

    def observe_system(self, sample: SystemSample) -> Finding | None:
        """Show a sample to all."""
        for name, rule in self._open():
            self._keep(name, rule.observe_system(sample))
        return self._tell()

    def waited(self, last: StepRecord | None, now: float) -> Finding | None:
        """Tell all how long ago the last step was."""
        for name, rule in self._open():
            self._keep(name, rule.waited(last, now))
        return self._tell()

    def report(self) -> dict[str, Any]:
        """Return what each rule found, or why it did not look, and the summaries."""
        return {
            name: {
                "finding": self._found[name].to_json() if name in self._found else None,
                "not_evaluated": rule.not_evaluated,
                "report": rule.report(),
            }
            for name, rule in self._rules.items()
        }

    def _make(self, rule: type[DocumentedRule], given: dict[str, Any]) -> Rule:
        named = _named(given)
        mine: dict[str, Any] = {
            key[len(rule.name) + 1 :]: self.values[key]
            for key in named
            if key.startswith(f"{rule.name}_")
        }
        if "scan_interval_us" in named:
            mine.setdefault("scan_interval_us", self.values["scan_interval_us"])
        return rule(**mine)

    def _open(self) -> list[tuple[str, Rule]]:
        return [(name, rule) for name, rule in self._rules.items() if name not in self._found]

    def _keep(self, name: str, finding: Finding | None) -> None:
        if finding is not None:
            self._found[name] = finding

    def _tell(self) -> Finding | None:
        """Return one finding that was not told yet."""
        for name, finding in self._found.items():
            if name not in self._told:
                self._told.add(name)
                return finding._replace(rule=self.name, message=f"{name}: {finding.message}")
        return None


def _named(given: dict[str, Any]) -> dict[str, Any]:
    """Return parameters by their exact names.

    Raises:
        RuleError: A key does not begin with a rule's name.
    """
    exact = {parameter.name.lower(): parameter.name for parameter in ProfilerReport.parameters}
    named = {}
    for key, value in given.items():
        if key == "save_interval":
            continue
        rule = key.partition("_")[0].lower()
        if key.lower() not in exact and rule not in {each.name.lower() for each in BUNDLED}:
            words = [each.name for each in BUNDLED]
            raise RuleError(
                f"ProfilerReport: {key!r} is no <Rule>_<parameter>{nearest(key, words)}"
            )
        named[exact.get(key.lower(), key)] = value
    return named

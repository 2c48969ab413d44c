"""SageMaker's rules of the profiler, over samples of the host and the time of steps."""

from orchestrator_runtime.rules.profiler.reports import BUNDLED, ProfilerReport
from orchestrator_runtime.rules.rule import Rule

PROFILER: tuple[type[Rule], ...] = (*BUNDLED, ProfilerReport)

"""Under CI=true a skipped test is a failure, unless it needs a GPU or an AWS account; the last lines say how many."""

from __future__ import annotations

import os

import pytest

ALLOWED = {"gpu", "aws"}


def in_ci() -> bool:
    """Whether this is a run that may skip nothing."""
    return os.environ.get("CI") == "true"


class SkipCounter:
    """Counts the skips of one session."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skipped test; an expected failure is reported as skipped too and is none."""
        if report.skipped and not hasattr(report, "wasxfail") and not ALLOWED & {*report.keywords}:
            self.names.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that skipped itself."""
        if report.outcome == "skipped":
            self.names.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session."""
        if self.names and in_ci() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say so."""
        if self.names and in_ci():
            terminalreporter.section("skipped under CI=true, which is a failure", red=True)
            for name in self.names:
                terminalreporter.line(name)


def pytest_configure(config: pytest.Config) -> None:
    """Count from the start."""
    config.pluginmanager.register(SkipCounter(), "skip-counter")

"""Any sequence of calls and mishaps: what the API says is what a simple model expects."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    run_state_machine_as_test,
)

from tests.contract.api_machine import ApiMachine


class OverMemory(ApiMachine):
    """Dictionaries."""

    durable = False


class OverSqlite(ApiMachine):
    """A file, opened again at every restart."""

    durable = True


def explore(machine: type[ApiMachine], examples: int, steps: int) -> None:
    """Run a machine."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_api_over_memory_does_what_the_model_says() -> None:
    explore(OverMemory, 150, 50)


def test_the_api_over_sqlite_does_what_the_model_says() -> None:
    explore(OverSqlite, 50, 40)


@pytest.mark.slow
@pytest.mark.usefixtures("no_log_records")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [OverMemory, OverSqlite])
def test_the_api_does_what_the_model_says_for_a_long_time(machine: type[ApiMachine]) -> None:
    explore(machine, 1500, 80)

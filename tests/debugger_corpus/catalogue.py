"""All scenarios: those of the modules in ``dev`` and ``held``, found by their ``SCENARIOS``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from tests.debugger_corpus.scenario import Half, Scenario


def scenarios(half: Half, framework: str | None = None) -> list[Scenario]:
    """Return the scenarios of one half, in the order of modules and of their lists.

    Raises:
        ValueError: A name appears twice, or a scenario lies in the wrong half.
    """
    found = [
        scenario
        for module in _modules(half)
        for scenario in _scenarios_of(module)
        if framework in (None, scenario.framework)
    ]
    names = [scenario.name for scenario in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong = [scenario.name for scenario in found if scenario.half != half]
    if twice or wrong:
        raise ValueError(f"{half}: names that appear twice {twice}, of the other half {wrong}")
    return found


def _modules(half: Half) -> Iterator[str]:
    package = f"tests.debugger_corpus.{half}"
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            yield f"{package}.{module.name}"


def _scenarios_of(module: str) -> tuple[Scenario, ...]:
    found: tuple[Scenario, ...] = importlib.import_module(module).SCENARIOS
    return found

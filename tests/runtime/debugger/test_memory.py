"""A long training takes no more memory under the debugger, and what the program lets go of is gone."""

from __future__ import annotations

import pytest

from tests.runtime.debugger.watched import ALL_RULES, run

pytestmark = [pytest.mark.torch, pytest.mark.timeout(240)]


def test_memory_does_not_grow(tmp_path):
    seen = run(tmp_path, "memory.py", plan={"rules": ALL_RULES})
    grown = {line["kind"]: line for line in seen.lines}
    assert list(grown) == ["by hand", "by optimizer", "models"]
    # One kept step would be some objects; one kept model, its gradients and its state 4 megabytes.
    assert grown["by hand"]["bytes"] < 4_000_000
    assert grown["by optimizer"]["bytes"] < 4_000_000
    assert grown["models"]["bytes"] < 20_000_000
    assert all(abs(line["objects"]) < 1500 for line in grown.values())
    (line,) = [line for line in seen.said if "optimizers" in line]
    assert line.endswith("only the first 64 optimizers are watched")

"""Compiled programs: they compile as without the debugger, and what is compiled is watched where it can be."""

from __future__ import annotations

import pytest

from tests.runtime.debugger.agreement import check, recorded
from tests.runtime.debugger.watched import ALL_RULES, SAYS, both

pytestmark = [pytest.mark.torch, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    "backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_compiled_programs(tmp_path, backend):
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    bare, seen = both(
        tmp_path, "compiled.py", backend, plan={"rules": ALL_RULES}, environment=cache
    )
    assert [line["kind"] for line in bare.lines] == ["model", "step", "whole", "clipping"]
    assert bare.lines == seen.lines
    for ((account, steps),) in recorded(seen).values():
        check(account, steps)
    assert seen.findings == []
    assert [line.partition(SAYS)[2] for line in seen.said] == [
        " activations of compiled models are not measured",
        " what is compiled with fullgraph=True is not watched",
    ]

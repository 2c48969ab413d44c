"""Programs of several processes: who records, what belongs to whom, and who leaves no trace."""

from __future__ import annotations

import pytest

from tests.runtime.debugger.agreement import approximately, by_optimizer, check
from tests.runtime.debugger.watched import ALL_RULES, Run, both, run, series, values

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    directory = tmp_path_factory.mktemp("distributed")
    return both(directory, "distributed.py", "store", plan={"rules": ALL_RULES})


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    return both(tmp_path_factory.mktemp("processes"), "-W", "ignore", "processes.py")


class TestADistributedRun:
    def test_all_results_are_identical_and_nothing_is_found(self, ranks):
        bare, seen = ranks
        assert [line["kind"] for line in bare.lines] == ["ddp", "fsdp"]
        assert bare.lines == seen.lines
        assert (seen.said, seen.findings) == ([], [])

    def test_the_first_process_records_what_all_have_reduced(self, ranks):
        _, seen = ranks
        for line, steps in zip(seen.lines, by_optimizer(seen.trace.steps), strict=True):
            (account,) = line["accounts"]
            check(account, steps)
            assert values(steps, "norm_before_clip") == approximately(account["before"])
        assert seen.trace.events[0]["rank"] == 0

    def test_sharded_parameters_give_what_whole_ones_give(self, ranks):
        whole, parts = by_optimizer(ranks[1].trace.steps)
        for name in ("gradients/l2", "weights/l2", "gradients/abs_max"):
            pairs = zip(series(whole, name), series(parts, name), strict=True)
            assert all(one == pytest.approx(other, rel=1e-3) for one, other in pairs)
        shapes = [tensor.shape for tensor in parts[0].blocks["gradients/l2"].table.tensors]
        assert shapes[:2] == [(32, 16), (32,)]

    @pytest.mark.slow
    def test_all_ranks_record_where_that_is_wished(self, tmp_path):
        seen = run(tmp_path, "distributed.py", "store", plan={"all_ranks": True})
        assert sorted(trace.events[0]["rank"] for trace in seen.traces) == [0, 1]
        assert [len(trace.steps) for trace in seen.traces] == [24, 24]


class TestChildren:
    def test_all_results_are_identical_and_nobody_says_anything(self, family):
        bare, seen = family
        assert bare.lines == seen.lines
        assert seen.errors == bare.errors

    def test_each_process_that_trains_has_a_trace_of_its_own(self, family):
        _, seen = family
        lines = [line for line in seen.lines if line["kind"] != "over"]
        accounts = [line["accounts"][0] for line in lines]
        starts = [trace.events[0] for trace in seen.traces]
        assert len({start["pid"] for start in starts}) == len(starts) == len(accounts) == 3
        traces = sorted(seen.traces, key=lambda trace: trace.steps[-1].time)
        for line, account, trace in zip(lines, accounts, traces, strict=True):
            assert trace.damage is None
            if line["kind"] == "forked":  # ends with os._exit: what was just gathered goes with it
                kept = len(trace.steps)
                account = account | {key: account[key][:kept] for key in ("losses", "norms")}
            check(account, trace.steps)

    def test_workers_that_load_data_are_not_reported(self, family):
        states = family[1].states()
        assert states.count("watching") == 3
        assert set(states) == {"watching", "ended"}

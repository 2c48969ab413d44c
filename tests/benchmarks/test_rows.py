"""The harness: its arithmetic, its table, and the smallest rows run for real. No time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks import bench_cli, bench_job, bench_restart, table
from tests.benchmarks.measure import Line, Options, Row, Series, Skipped, one, take_turns


class TestASeries:
    def test_has_the_middle_value(self):
        assert Series((3.0, 1.0, 2.0)).median == 2.0

    def test_is_compared_round_by_round(self):
        """The machine was twice as busy in the second round: that changes no ratio."""
        assert Series((2.0, 4.0)).ratio_to(Series((1.0, 2.0))) == 2.0

    def test_has_percentiles(self):
        assert Series(tuple(map(float, range(100)))).percentile(0.99) == 99.0
        assert one(5.0).percentile(0.99) == 5.0


class TestTakingTurns:
    def test_gives_every_contender_every_place_and_throws_the_first_round_away(self):
        order: list[str] = []

        def contender(name: str):
            def run() -> float:
                order.append(name)
                return float(len(order))

            return run

        found = take_turns({name: contender(name) for name in "abc"}, rounds=3)
        assert order == [*"cab", *"abc", *"bca", *"cab"]
        assert found["a"].values == (4.0, 9.0, 11.0)


class TestARow:
    def row(self, value: float, **more) -> Row:
        return Row("name", "s", one(value), {"bare": one(2.0)}, **more)

    def test_reaches_its_target_or_misses_it(self):
        assert self.row(1.0, target=1.0).verdict == "ok"
        assert self.row(1.1, target=1.0).verdict == "missed"
        assert self.row(1.1, target=1.0, at_least=True).verdict == "ok"
        assert self.row(2.2, target=1.15, of="ratio").verdict == "ok"
        assert self.row(2.4, target=1.15, of="ratio").verdict == "missed"
        assert self.row(1.0).verdict == ""

    def test_is_told_with_ratio_target_and_verdict(self):
        said = table.text(self.row(3.0, target=1.0, note="a note"))
        assert "<= 1" in said
        assert "missed" in said
        assert "1.5 x bare: 2 s" in said
        assert "a note" in said

    def test_that_could_not_be_measured_says_why(self):
        assert "no engine" in table.text(Skipped("docker", "no engine"))

    def test_totals_name_what_was_missed(self):
        lines: list[Line] = [
            self.row(3.0, target=1.0),
            self.row(1.0, target=1.0),
            Skipped("x", "y"),
        ]
        said = table.totals(lines)
        assert said == "1 targets reached, 1 missed: name; 1 not measured"


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(tmp_path, quick=True)


@pytest.mark.e2e
class TestTheRows:
    """Each group once around; `make bench` measures them."""

    def test_of_a_job_run(self, options: Options):
        found = list(bench_job.rows(options))
        assert [row.name.rpartition(" ")[2] for row in found] == ["socket", "http"]
        assert all(isinstance(row, Row) and bench_job.BARE in row.baselines for row in found)

    @pytest.mark.slow
    def test_of_the_command_run(self, options: Options):
        assert len(list(bench_cli.rows(options))) == 4

    def test_of_a_restart_run(self, options: Options):
        names = [line.name for line in bench_restart.rows(options)]
        assert names[-1] == "restart: 3 processes and 5 recorded jobs adopted"

    def test_can_be_chosen_and_written_as_a_document(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        file = tmp_path / "table.json"
        words = ["--quick", "--only", "logs", "--json", str(file), "--folder", str(tmp_path)]
        lines = bench.main(words)
        document = json.loads(file.read_text("utf-8"))
        lost = document["rows"][0]
        assert lost["measured"]["median"] == 0
        assert lost["verdict"] == "ok"
        assert len(document["rows"]) == len(lines)
        assert lost["name"] in capsys.readouterr().out

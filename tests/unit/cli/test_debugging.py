"""``orchestrator debug``: from words to the debugger's plan, refusals, and the table of rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime.hook.plan import plan_from
from orchestrator_runtime.rules import DEFAULT_RULES, Parameter, Rule, rules
from orchestrator_runtime.trace import Writer

from orchestrator.cli import debug_rules, exits, main
from orchestrator.cli.debugging import Wishes, planned
from orchestrator.errors import InvalidSpec

COMMAND = ("python", "train.py")
HERE = Path()


def plan(**wishes: Any) -> dict[str, Any]:
    return planned(Wishes(COMMAND, **wishes))


def rules_of(**wishes: Any) -> dict[str, tuple[dict[str, str], bool]]:
    """Parameters, and whether it stops, of each rule of a plan."""
    return {rule["rule"]: (rule["parameters"], rule["stop"]) for rule in plan(**wishes)["rules"]}


def run(*words: str) -> int:
    return main.main(["debug", *words])


class TestAPlan:
    def test_has_all_of_our_rules_and_stops_nothing_by_default(self):
        assert rules_of() == {name: ({}, False) for name in DEFAULT_RULES}

    def test_is_one_that_the_hook_reads(self, tmp_path):
        made = plan(
            findings=tmp_path / "f.jsonl",
            traces=tmp_path / "t",
            every=("gradients/l2=10", "outputs/inactive:1.0=5"),
            stop_on="all",
        )
        read = plan_from(json.loads(json.dumps(made)))
        assert read.every == {"gradients/l2": 10, "outputs/inactive:1.0": 5}
        assert read.directory == str(tmp_path / "t")
        assert read.findings == str(tmp_path / "f.jsonl")
        assert all(rule.stop for rule in read.rules)

    def test_has_tensors_that_are_kept_whole(self, tmp_path):
        made = plan(
            traces=tmp_path,
            include=("^fc",),
            arrays=("weights:^fc=10", "weights:conv|a=b=10", "labels=3"),
            histograms=("gradients=50",),
        )
        read = plan_from(json.loads(json.dumps(made)))
        assert read.include == ("^fc",)
        assert read.arrays == {
            "weights": {"every": 10, "patterns": ["^fc", "conv|a=b"]},
            "labels": {"every": 3, "patterns": []},
        }
        assert read.histograms == {"gradients": {"every": 50, "patterns": []}}

    def test_has_the_rules_that_were_chosen(self):
        assert rules_of(rules=" non_finite, ") == {"non_finite": ({}, False)}
        assert rules_of(rules="none") == {}

    def test_has_the_rules_that_are_to_stop_it_as_well(self):
        assert rules_of(rules="none", stop_on="non_finite") == {"non_finite": ({}, True)}
        assert rules_of(rules="none", stop_on="all") == {}

    def test_takes_parameters_without_losing_the_other_rules(self):
        found = rules_of(tuned=("non_finite:loss_patience=5", "non_finite:skip_patience=9"))
        assert found["non_finite"] == ({"loss_patience": "5", "skip_patience": "9"}, False)
        assert set(found) == set(DEFAULT_RULES)

    @pytest.mark.parametrize(
        ("text", "rule", "parameters"),
        [
            ("my_rules:Spike", "my_rules:Spike", {}),
            ("my.rules:Spike:limit=3", "my.rules:Spike", {"limit": "3"}),
            ("m:R:names=a,b,limit=3", "m:R", {"names": "a,b", "limit": "3"}),
            ("m:R:pattern=(?:a|b){1,2}=c", "m:R", {"pattern": "(?:a|b){1,2}=c"}),
            ("m:R:text=", "m:R", {"text": ""}),
        ],
    )
    def test_takes_rules_of_the_users_source(self, text, rule, parameters):
        assert rules_of(rules="none", tuned=(text,)) == {rule: (parameters, False)}

    def test_stops_on_a_rule_of_the_users_source(self):
        found = rules_of(rules="none", tuned=("m:R:limit=3",), stop_on="m:R")
        assert found == {"m:R": ({"limit": "3"}, True)}

    def test_makes_the_places_absolute_and_the_findings_empty(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("old.jsonl").write_text("old\n")
        made = plan(findings=Path("old.jsonl"), traces=Path("a/b"))
        assert made["findings"] == str(tmp_path / "old.jsonl")
        assert Path("old.jsonl").read_text() == ""
        assert made["directory"] == str(tmp_path / "a/b")
        assert Path("a/b").is_dir()


class TestARefusal:
    @pytest.mark.parametrize(
        ("wishes", "words"),
        [
            ({"rules": "non_finit"}, ["--rules", "'non_finit'", "did you mean 'non_finite'?"]),
            ({"stop_on": "nonsense"}, ["--stop-on", "'nonsense'", "orchestrator debug rules"]),
            ({"stop_on": ""}, ["--stop-on", "got ''", "write all, or leave it out"]),
            ({"rules": " , "}, ["--rules", "got ' , '", "write none, or leave it out"]),
            ({"stop_on": "m:R:x"}, ["--stop-on", "'m:R:x'", "module:Class"]),
            ({"tuned": ("nonsense:a=1",)}, ["--rule", "'nonsense'", "orchestrator debug rules"]),
            ({"tuned": ("non_finite:los=1",)}, ["no parameter 'los'", "loss_patience"]),
            ({"tuned": ("non_finite:loss_patience=x",)}, ["'loss_patience' is 'x'"]),
            ({"tuned": ("non_finite:loss_patience=0",)}, ["at least 1"]),
            ({"tuned": ("non_finite loss_patience=0",)}, ["RULE:NAME=VALUE", "for example"]),
            ({"tuned": ("",)}, ["RULE:NAME=VALUE"]),
            ({"every": ("gradients/l2",)}, ["--every", "'gradients/l2'", "gradients/l2=10"]),
            ({"every": ("gradients=3",)}, ["--every", "'gradients=3'"]),
            ({"every": ("gradients/l2=-1",)}, ["--every", "'gradients/l2=-1'"]),
            ({"findings": Path("/no/such/f")}, ["--findings", "'/no/such/f'", "No such file"]),
            ({"arrays": ("weights=3",)}, ["--arrays", "--traces DIR"]),
            (
                {"arrays": ("weights",), "traces": HERE},
                ["--arrays", "'weights'", "weights:^fc=100"],
            ),
            ({"arrays": ("weights:(=3",), "traces": HERE}, ["regular expression", "'('"]),
            ({"include": ("(",), "traces": HERE}, ["--include", "'('"]),
            ({"histograms": ("a=3", "a=4"), "traces": HERE}, ["--histograms", "a once", "'a=4'"]),
            ({"traces": Path("/dev/null/t")}, ["--traces", "'/dev/null/t'", "name another"]),
        ],
    )
    def test_names_option_value_and_remedy(self, wishes, words):
        with pytest.raises(InvalidSpec) as refused:
            plan(**wishes)
        assert all(word in refused.value.message for word in words), refused.value.message

    @pytest.mark.parametrize("words", [[], ["--stop-on", "all"], ["--"], ["--json", "--", ""]])
    def test_of_no_command_shows_one(self, words, capsys):
        assert run(*words) == exits.WRONG_REQUEST
        assert "orchestrator debug -- python train.py" in capsys.readouterr().err

    def test_of_a_command_without_dashes_says_where_it_goes(self, capsys):
        assert run("python", "train.py") == exits.WRONG_REQUEST
        assert "go after `--`" in capsys.readouterr().err

    def test_of_a_word_too_many_for_its_own_verbs_points_to_their_help(self, capsys):
        assert run("rules", "non_finite") == exits.WRONG_REQUEST
        assert "see `orchestrator debug rules --help`" in capsys.readouterr().err


def test_an_export_of_nothing_says_so(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    writer = Writer(str(tmp_path / "a.trace"), 1 << 20)
    writer.event(event="start", rank=0, time=1.0)
    writer.close()
    words = ("export", "--traces", str(tmp_path), "--tensorboard", str(tmp_path / "runs"))
    assert run(*words) == exits.DONE
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'runs'}\n"
    assert "no step was recorded" in printed.err

    @pytest.mark.parametrize("value", ["nan", "-1", "inf", "soon"])
    def test_of_a_grace_that_is_none(self, value, capsys):
        assert run("--grace", value, "--", "true") == exits.WRONG_REQUEST
        assert "--grace" in capsys.readouterr().err


class TestTheRules:
    def test_are_a_table(self, capsys):
        assert run("rules") == exits.DONE
        shown = capsys.readouterr().out.splitlines()
        assert shown[0].split() == ["rule", "parameter", "default", "meaning"]
        assert [line.split()[0].rstrip("*") for line in shown[1:] if line[0] != " "] == list(
            rules()
        )

    def test_are_json(self, capsys):
        assert run("rules", "--json") == exits.DONE
        found = {rule["rule"]: rule for rule in json.loads(capsys.readouterr().out)}
        assert list(found) == list(rules())
        assert found["non_finite"]["default"] is True
        first = found["non_finite"]["parameters"][0]
        assert first == {
            "name": "loss_patience", "type": "int", "default": 2, "minimum": 1, "maximum": None, "choices": [],
            "meaning": "losses in a row that are not finite",
        }  # fmt: skip

    def test_all_have_a_meaning(self):
        assert all(debug_rules.meaning(rule) for rule in rules().values())

    def test_have_a_help_of_their_own(self, capsys):
        assert run("rules", "--help") == exits.DONE
        shown = capsys.readouterr().out
        assert shown.startswith("Usage: orchestrator debug rules [OPTIONS]")
        assert main.main(["help", "debug", "rules"]) == exits.DONE
        assert capsys.readouterr().out == shown

    @pytest.mark.parametrize(
        ("parameter", "text"),
        [
            (Parameter("a", 1.0, low=0, high=2, help="steps"), "steps; from 0 to 2"),
            (Parameter("a", 1.0, high=2), "at most 2"),
            (Parameter("a", "x", "choice", choices=("x", "y")), "one of x, y"),
            (Parameter("a", None, "str"), ""),
        ],
    )
    def test_say_which_values_a_parameter_has(self, parameter, text):
        assert debug_rules.parameter_meaning(parameter) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [(None, ""), (True, "true"), (0.001, "0.001"), (5, "5"), (("a", "b"), "a,b"), ("x", "x")],
    )
    def test_show_a_default_as_it_is_given(self, value, text):
        assert debug_rules.written(value) == text

    def test_have_the_first_sentence_of_their_description(self):
        class Mine(Rule):
            """Fires at 1.5 of
            something. And more.

            Much more.
            """

        assert debug_rules.meaning(Mine) == "Fires at 1.5 of something"

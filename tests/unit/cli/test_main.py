"""The command as a whole: verbs, help, errors, exit codes."""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from orchestrator.cli import exits, main
from orchestrator.cli.verbs import VERBS, top_help

USAGE_ERROR = typer.BadParameter.__mro__[1]
README = Path(import_module("orchestrator.cli").__file__ or "").with_name("README.md")


def run(*words: str) -> int:
    return main.main(list(words))


def test_help_names_every_verb_with_one_line(capsys):
    assert run("--help") == exits.DONE
    shown = capsys.readouterr().out
    for verb, text in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(text)}$", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 100


@pytest.mark.parametrize("words", [["-h"], ["help"], ["--help"]])
def test_help_can_be_asked_for_in_several_ways(words, capsys):
    assert run(*words) == exits.DONE
    assert capsys.readouterr().out == top_help() + "\n"


def test_no_verb_shows_the_help_as_an_error(capsys):
    assert run() == exits.WRONG_REQUEST
    assert capsys.readouterr().err == top_help() + "\n"


def test_every_verb_has_its_file_and_every_file_its_verb():
    folder = README.parent
    assert {path.stem.removeprefix("cmd_") for path in folder.glob("cmd_*.py")} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_help_says_what_it_does_and_gives_examples(verb, capsys):
    assert run(verb, "--help") == exits.DONE
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: orchestrator {verb} [OPTIONS]") or verb in {"completion"}
    examples = shown.partition("Examples:\n")[2].strip().splitlines()
    assert examples
    assert all("orchestrator" in line for line in examples)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_help_is_also_found_the_other_way_round(verb, capsys):
    run(verb, "--help")
    expected = capsys.readouterr().out
    run("help", verb)
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained(verb):
    command = main.build([verb])
    parameters = typer.main.get_command(command).commands[verb].params  # type: ignore[attr-defined]
    for parameter in parameters:
        assert (getattr(parameter, "help", "") or "").strip(), f"{verb} {parameter.name}"


def own_words(line: str) -> list[str]:
    """The words of an example that are this command's, without shell syntax around them."""
    line = re.sub(r'^eval "\$\((.*)\)"$', r"\1", line)
    line = re.sub(r"^source <\((.*)\)$", r"\1", line)
    line = re.sub(r'"\$\((.*)\)"', "image:1", line)
    words = shlex.split(line.partition(" > ")[0])
    assert words[0] == "orchestrator"
    return words[1:]


EXAMPLES = [
    (verb, line)
    for verb in VERBS
    for line in import_module(f"orchestrator.cli.cmd_{verb}").EXAMPLES.strip().splitlines()
]


@pytest.mark.parametrize(("verb", "line"), EXAMPLES)
def test_every_example_is_understood(verb, line):
    words = own_words(line)
    assert words[0] == verb
    words = words[: words.index("--")] if "--" in words else words
    command = typer.main.get_command(main.build([verb])).commands[verb]  # type: ignore[attr-defined]
    command.make_context(verb, words[1:])  # raises where an option or a word is wrong


def test_the_readme_explains_every_verb():
    text = README.read_text(encoding="utf-8")
    for verb in VERBS:
        assert re.search(rf"^\| `{verb}\b", text, re.MULTILINE), f"{verb} is missing"


def test_an_unknown_verb_is_answered_with_the_nearest_one(capsys):
    assert run("rum", "train.py") == exits.WRONG_REQUEST
    assert capsys.readouterr().err == (
        "error: the first word must be a verb, got 'rum'; did you mean 'run'?\n"
    )


def test_a_word_like_no_verb_is_answered_with_the_help(capsys):
    assert run("xyzzy") == exits.WRONG_REQUEST
    assert "see `orchestrator --help`" in capsys.readouterr().err


def test_errors_are_json_where_json_is_asked_for(capsys):
    assert run("describe", "--jsn", "--json") == exits.WRONG_REQUEST
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["error"]["code"] == "invalid_spec"


def test_a_json_that_belongs_to_the_program_changes_nothing(capsys):
    assert run("run", "no-such-file.py", "--", "--json") == exits.WRONG_REQUEST
    assert capsys.readouterr().err.startswith("error: SCRIPT_OR_DIR must exist")


def test_an_option_of_the_program_without_dashes_before_it_is_explained(tmp_path, capsys):
    script = tmp_path / "train.py"
    script.write_text("")
    assert run("run", str(script), "--epochs", "3") == exits.WRONG_REQUEST
    assert "words for your own program go after `--`" in capsys.readouterr().err


def test_a_missing_argument_is_answered_with_where_the_help_is(capsys):
    assert run("describe") == exits.WRONG_REQUEST
    assert capsys.readouterr().err == (
        "error: Missing argument 'JOB'; see `orchestrator describe --help`\n"
    )


def test_an_unknown_job_is_an_error_that_says_what_to_do(tmp_path, capsys):
    assert run("describe", "nothing", "--home", str(tmp_path / "home")) == exits.ERROR
    assert "see `orchestrator list`" in capsys.readouterr().err


def test_a_refusal_of_the_system_is_an_error_and_no_traceback(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert run("list", "--home", str(blocked / "home")) != exits.DONE
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert "Traceback" not in shown


def test_the_version_is_printed(capsys):
    from orchestrator import __version__

    assert run("--version") == exits.DONE
    assert capsys.readouterr().out.startswith(f"orchestrator {__version__} ")
    assert run("version", "--json") == exits.DONE
    assert json.loads(capsys.readouterr().out)["orchestrator"] == __version__


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(shell, capsys):
    assert run("completion", shell) == exits.DONE
    assert main.COMPLETION_VARIABLE in capsys.readouterr().out


def completed(words: str, position: int, monkeypatch, capsys) -> list[str]:
    """What bash would offer."""
    monkeypatch.setenv(main.COMPLETION_VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(position))
    monkeypatch.setattr(sys, "argv", ["orchestrator"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code in {0, None}
    offered: list[str] = capsys.readouterr().out.split()
    return offered


def test_verbs_and_options_are_completed(monkeypatch, capsys):
    assert completed("orchestrator lo", 1, monkeypatch, capsys) == ["logs"]
    assert "--metric" in completed("orchestrator run --me", 2, monkeypatch, capsys)


def test_completing_a_job_where_there_is_none_offers_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    assert completed("orchestrator logs x", 2, monkeypatch, capsys) == []

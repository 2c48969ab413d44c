"""Entry point: chooses a verb, loads its file and nothing else, and turns errors into words.

Exit codes: 0 done; 1 an error; 2 the request was wrong and nothing was started; ``run`` and
``logs -f`` follow the job, see ``orchestrator.cli.exits``.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from orchestrator.cli import exits
from orchestrator.cli.verbs import VERBS, top_help

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PROGRAM = "orchestrator"
COMPLETION_VARIABLE = "_ORCHESTRATOR_COMPLETE"
# Verbs whose words after `--` belong to another program.
TAKES_REST = frozenset({"debug", "run", "shell"})
SETTINGS = {"help_option_names": ["--help", "-h"], "max_content_width": 100}
_STRAY = ("such option", "such command", "extra argument")
HELP_WORDS = frozenset({"--help", "-h", "help"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _dispatch(words)
    except (_ReaderGone, BrokenPipeError):
        # Whoever read our output has gone; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.BROKEN_PIPE


def _dispatch(words: list[str]) -> int:
    if COMPLETION_VARIABLE in os.environ:
        return _run(VERBS, words, ())
    if not words or words[0] in HELP_WORDS:
        if len(words) > 1 and words[1] in VERBS:
            return _help(*words[1:3])
        print(top_help(), file=sys.stdout if words else sys.stderr)
        return exits.DONE if words else exits.WRONG_REQUEST
    if words[0] in {"--version", "-V"}:
        words = ["version"]
    verb = words[0]
    if verb not in VERBS:
        return _unknown_verb(words)
    rest: list[str] = []
    if verb in TAKES_REST and "--" in words:
        cut = words.index("--")
        words, rest = words[:cut], words[cut + 1 :]
    if "--help" in words or words[-1] == "-h":
        return _help(*words[:2])
    return _run([verb], words, rest)


def _help(verb: str, part: str = "") -> int:
    """Print the help of a verb, or of a part of it.

    Typer itself would load pydantic to read the word --help.
    """
    import typer

    group: Any = typer.main.get_command(build([verb]))
    settings: Any = SETTINGS
    above = typer.Context(group, info_name=PROGRAM, **settings)
    command = group.commands[verb]
    context = typer.Context(command, parent=above, info_name=verb, **settings)
    inner = getattr(command, "commands", {}).get(part)
    if inner is not None:
        command, context = inner, typer.Context(inner, parent=context, info_name=part, **settings)
    print(command.get_help(context))
    return exits.DONE


def _unknown_verb(words: list[str]) -> int:
    import difflib

    from orchestrator.errors import InvalidSpec

    near = difflib.get_close_matches(words[0], VERBS, 1, 0.5)
    advice = f"did you mean {near[0]!r}?" if near else "see `orchestrator --help`"
    text = f"the first word must be a verb, got {words[0]!r}; {advice}"
    return _failed(InvalidSpec(text), words)


def build(verbs: Iterable[str]) -> Any:
    """Return a Typer application with these verbs; loads their files."""
    import importlib

    import typer

    app = typer.Typer(
        rich_markup_mode=None,
        add_completion=COMPLETION_VARIABLE in os.environ,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
    )

    @app.callback()
    def root() -> None:
        """Train models on your own hardware."""

    for verb in verbs:
        module = importlib.import_module(f"orchestrator.cli.cmd_{verb}")
        parts: dict[str, str] = getattr(module, "PARTS", {})
        if not parts:
            app.command(verb, epilog=_examples(module))(_noticing(module.command))
            continue
        inner = typer.Typer(
            rich_markup_mode=None, add_completion=False, subcommand_metavar=module.METAVAR
        )
        inner.callback(invoke_without_command=True, epilog=_examples(module))(
            _noticing(module.command)
        )
        for part, place in parts.items():
            own = importlib.import_module(place)
            inner.command(part, epilog=_examples(own))(_noticing(own.command))
        app.add_typer(inner, name=verb)
    return app


def _examples(module: Any) -> str:
    lines = "\n".join(f"  {line}" for line in module.EXAMPLES.strip().splitlines())
    return f"\b\nExamples:\n{lines}"


class _ReaderGone(Exception):
    """Whoever read our output has gone. Typer has its own way with the error this stands for."""


def _noticing(command: Callable[..., Any]) -> Callable[..., Any]:
    import functools

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except BrokenPipeError as error:
            raise _ReaderGone from error

    return wrapped


def _run(verbs: Iterable[str], words: list[str], rest: Sequence[str]) -> int:
    import typer

    from orchestrator.errors import OrchestratorError

    # UsageError, wherever this release of Typer keeps it.
    usage_error: type[Exception] = typer.BadParameter.__mro__[1]
    app = build(verbs)
    warnings.showwarning = _show_warning
    try:
        code = app(args=words, prog_name=PROGRAM, obj=tuple(rest), standalone_mode=False)
    except usage_error as error:
        return _usage_failed(error, words)
    except OrchestratorError as error:
        return _failed(error, words)
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        return _os_failed(error, words)
    return code if isinstance(code, int) else exits.DONE


def _show_warning(message: Warning | str, *_where: Any, **_more: Any) -> None:
    """Show a warning of the SDK as a note: where in our code it was given helps nobody."""
    from orchestrator.cli.output import note

    note(f"warning: {message}")


def _usage_failed(error: Any, words: list[str]) -> int:
    from orchestrator.errors import InvalidSpec

    said = error.format_message().rstrip(".")
    verb = words[0]
    parts = getattr(sys.modules.get(f"orchestrator.cli.cmd_{verb}"), "PARTS", {})
    part = f" {words[1]}" if len(words) > 1 and words[1] in parts else ""
    remedy = f"see `orchestrator {verb}{part} --help`"
    if not part and verb in TAKES_REST and any(what in said for what in _STRAY):
        remedy = f"words for your own program go after `--`: orchestrator {verb} … -- ARGS"
    return _failed(InvalidSpec(f"{said}; {remedy}"), words)


def _os_failed(error: OSError, words: list[str]) -> int:
    from orchestrator.errors import Unavailable

    where = f" {str(error.filename)!r}" if error.filename else ""
    return _failed(Unavailable(f"the system refused{where}: {error.strerror or error}"), words)


def _failed(error: Any, words: list[str]) -> int:
    from orchestrator.cli.output import print_error
    from orchestrator.errors import InvalidSpec

    own = words[: words.index("--")] if "--" in words else words
    sys.stdout.flush()
    print_error(error, as_json="--json" in own)
    return exits.WRONG_REQUEST if isinstance(error, InvalidSpec) else exits.ERROR


if __name__ == "__main__":
    sys.exit(main())

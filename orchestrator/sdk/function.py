"""Turns a function into a training script, by its source text."""

from __future__ import annotations

import ast
import builtins
import inspect
import symtable
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEAD = "from __future__ import annotations\n\n"
_MAIN = """

if __name__ == "__main__":
    import json
    import sys

    def _decoded(text):
        try:
            return json.loads(text)
        except ValueError:
            return text

    _words = sys.argv[1:]
    _hyperparameters = {{
        key.removeprefix("--").replace("-", "_"): _decoded(value)
        for key, value in zip(_words[::2], _words[1::2])
    }}
    {name}(**_hyperparameters)
"""
_MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__", "__builtins__"})


class FunctionScript(NamedTuple):
    """A script that defines and calls a function."""

    name: str
    """The function's name; the script's without ``.py``."""
    text: str


def script_of(function: Callable[..., Any]) -> FunctionScript:
    """Return a script that defines and calls the function.

    Raises:
        InvalidSpec: Its source cannot be read, or it uses names of its surroundings.
    """
    name = getattr(function, "__name__", "")
    if not inspect.isfunction(function) or not name.isidentifier():
        raise InvalidSpec(f"a plain named function is needed to train, got {function!r}")
    text = _HEAD + _definition(name, function) + _MAIN.format(name=name)
    missing = sorted(_undefined(text))
    if missing:
        raise InvalidSpec(
            f"the function must stand on its own, got one that uses {', '.join(missing)} of its "
            "surroundings; import or define that inside, or pass it as a hyperparameter"
        )
    return FunctionScript(name, text)


def _definition(name: str, function: Callable[..., Any]) -> str:
    """Return the function's own text, without its decorators: they belong to the surroundings."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
        node = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise InvalidSpec(
            f"the source of {name!r} cannot be read ({error}); write it to a file and pass that"
        ) from error
    if not isinstance(node, ast.FunctionDef):
        raise InvalidSpec(f"a plain function is needed to train, {name!r} is none (async, lambda)")
    return "\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno])


def _undefined(text: str) -> set[str]:
    """Return the global names that a script uses and never defines."""
    top = symtable.symtable(text, "script", "exec")
    tables = list(_tables(top))
    defined = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    for table in tables:
        defined |= {
            s.get_name()
            for s in table.get_symbols()
            if s.is_declared_global() and (s.is_assigned() or s.is_imported())
        }
    used = {
        s.get_name()
        for table in tables
        for s in table.get_symbols()
        if s.is_referenced() and (s.is_global() or table is top)
    }
    return used - defined - set(dir(builtins)) - _MODULE_NAMES


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)

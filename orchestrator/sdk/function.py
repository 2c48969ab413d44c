"""Turns a function into a training script, by its source text."""

from __future__ import annotations

import inspect
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable

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


def script_of(function: Callable[..., Any]) -> Path:
    """Write a script that defines and calls the function; return its path.

    Raises:
        InvalidSpec: Its source cannot be read, or it uses variables of its surroundings.
    """
    name = getattr(function, "__name__", "")
    if not inspect.isfunction(function) or not name.isidentifier():
        raise InvalidSpec(f"a plain named function is needed to train, got {function!r}")
    if function.__code__.co_freevars:
        raise InvalidSpec(
            "the function must stand on its own, got one that uses "
            f"{', '.join(function.__code__.co_freevars)} of its surroundings; pass them as "
            "hyperparameters or define them inside"
        )
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise InvalidSpec(
            f"the source of {name!r} cannot be read ({error}); write it to a file and pass that"
        ) from error
    source = source[source.index("def ") :]  # decorators belong to the surroundings
    directory = Path(tempfile.mkdtemp(prefix="orchestrator-function-"))
    script = directory / f"{name}.py"
    script.write_text(source + _MAIN.format(name=name), encoding="utf-8")
    return script

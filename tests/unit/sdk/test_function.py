"""A function becomes a script that stands on its own, or is refused with what it lacks."""

# ruff: noqa: T201 - the functions here are run as scripts, and print

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ModelTrainer, SourceCode
from orchestrator.errors import InvalidSpec
from orchestrator.sdk.function import script_of

np = "a name of the surroundings"
LEARNING_RATE = 0.5


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Change nothing."""
    return function


def train(epochs: int = 1, *, learning_rate: float = 0.1, layers: list[int] | None = None) -> None:
    """Print what came."""
    import json

    def inner(value: Any) -> str:
        return json.dumps(value)

    class Local:
        field = inner(1)

    text = inner([epochs, learning_rate, layers])
    print(text, Local.field, [inner(n) for n in range(2)], train.__name__)


@decorated
def with_decorator() -> None:  # def of a comment
    print("decorated")


def run(function: Callable[..., Any], tmp_path: Path, *words: str) -> str:
    """Run a function's script in a fresh interpreter and return what it prints."""
    script = tmp_path / "script.py"
    script.write_text(script_of(function).text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", str(script), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_hyperparameters_become_keyword_arguments(tmp_path: Path) -> None:
    said = run(train, tmp_path, "--epochs", "3", "--learning-rate", "0.01", "--layers", "[1, 2]")
    assert said == "[3, 0.01, [1, 2]] 1 ['0', '1'] train"
    assert run(train, tmp_path) == "[1, 0.1, null] 1 ['0', '1'] train"


def test_decorators_stay_outside(tmp_path: Path) -> None:
    assert run(with_decorator, tmp_path) == "decorated"


def test_a_nested_function_that_needs_nothing_works(tmp_path: Path) -> None:
    def inside() -> None:
        print("inside")

    assert run(inside, tmp_path) == "inside"


def test_what_is_used_of_the_surroundings_is_named() -> None:
    captured = 3

    def closure() -> int:
        return captured

    def uses_globals() -> None:
        print(np.zeros(3), LEARNING_RATE)  # type: ignore[attr-defined]

    def in_its_default(rate: float = LEARNING_RATE) -> float:
        return rate

    def deep_inside() -> Any:
        return lambda: [np for _ in range(3)]

    for function, names in (
        (closure, "captured"),
        (uses_globals, "LEARNING_RATE, np"),
        (in_its_default, "LEARNING_RATE"),
        (deep_inside, "np"),
    ):
        with pytest.raises(
            InvalidSpec, match=f"one that uses {names} of its surroundings; import"
        ):
            script_of(function)


def test_annotations_and_own_globals_are_no_surroundings(tmp_path: Path) -> None:
    def annotated(x: np.ndarray | None = None) -> np.ndarray:  # type: ignore[name-defined]
        global counter
        counter = 1  # type: ignore[name-defined]
        global math
        import math

        print(counter, math.floor(2.5), __name__)  # type: ignore[name-defined]

    assert run(annotated, tmp_path) == "1 2 __main__"


@pytest.mark.parametrize("given", [print, len, lambda: None, int, "train"])
def test_what_is_no_plain_function_is_refused(given: Any) -> None:
    with pytest.raises(InvalidSpec, match="plain"):
        script_of(given)


def test_a_coroutine_is_refused() -> None:
    async def later() -> None: ...

    with pytest.raises(InvalidSpec, match="async"):
        script_of(later)


def test_a_function_without_source_is_refused() -> None:
    namespace: dict[str, Any] = {}
    exec("def made(): ...", namespace)
    with pytest.raises(InvalidSpec, match="cannot be read"):
        script_of(namespace["made"])


def test_nothing_is_written_before_it_is_trained() -> None:
    trainer = ModelTrainer(source_code=train)
    assert trainer.source_code is not None
    assert trainer.source_code.entry_script == "train.py"
    assert "def train(" in (trainer.source_code.text or "")
    assert trainer.base_job_name == "train"
    assert SourceCode(entry_script="x.py").text is None

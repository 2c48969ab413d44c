"""Which entries of a source directory are left out. Patterns are those of .gitignore.

Plain name patterns (all of the defaults) are matched here; ``pathspec`` is loaded only for
patterns that need more, because its import costs ten times as much as packing three files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from pathlib import Path

from orchestrator.errors import InvalidSpec

IGNORE_FILE = ".orchestratorignore"
DEFAULT_PATTERNS = (
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    "*.pyc",
    ".venv",
    "venv",
    "node_modules",
    ".ipynb_checkpoints",
    ".cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".DS_Store",
    ".env",
    ".#*",  # lock files of Emacs: dangling links
)
MAX_IGNORE_FILE_BYTES = 1024 * 1024
_PLAIN = re.compile(r"[\w.*?#~@+=,-]+")

Matcher = Callable[[str, bool], bool]
"""(path relative to the source directory, is it a directory) -> leave it out?"""


def ignore_matcher(source: Path, patterns: Sequence[str] | None = None) -> Matcher:
    """Return the rule that decides what is left out of a source directory.

    Args:
        source: The directory; its ``.orchestratorignore`` is read if there is one.
        patterns: Replaces the default patterns, as ``ignore_patterns`` of SageMaker's SDK does.

    Raises:
        InvalidSpec: The ignore file cannot be read, or a pattern is malformed.
    """
    chosen = list(DEFAULT_PATTERNS if patterns is None else patterns)
    return compile_patterns([*chosen, *_read(source / IGNORE_FILE), f"/{IGNORE_FILE}"])


def compile_patterns(lines: Iterable[str]) -> Matcher:
    """Return the rule for .gitignore lines, the last match of which decides.

    Raises:
        InvalidSpec: A pattern is malformed.
    """
    lines = list(lines)
    own_file = f"/{IGNORE_FILE}"
    plain = [line for line in lines if line != own_file]
    if all(_is_plain(line) for line in plain):
        names = re.compile("|".join(translate(line) for line in plain) or r"(?!)")

        def by_name(path: str, is_directory: bool) -> bool:  # noqa: ARG001 - a Matcher
            return path == IGNORE_FILE or names.match(path.rpartition("/")[2]) is not None

        return by_name
    return _by_pathspec(lines)


def _is_plain(line: str) -> bool:
    return _PLAIN.fullmatch(line) is not None and not line.startswith("#") and "**" not in line


def _by_pathspec(lines: Sequence[str]) -> Matcher:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - loaded only when needed

    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise InvalidSpec(f"an ignore pattern must be one of .gitignore's form: {error}") from None

    def by_spec(path: str, is_directory: bool) -> bool:
        return spec.match_file(f"{path}/" if is_directory else path)

    return by_spec


def _read(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_IGNORE_FILE_BYTES + 1)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{path} must be a readable UTF-8 text file: {error}") from None
    if len(text) > MAX_IGNORE_FILE_BYTES:
        raise InvalidSpec(f"{path} must have at most {MAX_IGNORE_FILE_BYTES} bytes")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]

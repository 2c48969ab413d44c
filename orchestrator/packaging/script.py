"""Which file of a source is the program, and what it says of itself (PEP 723)."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.errors import InvalidSpec

SUFFIXES = (".py", ".sh")
DEFAULT_SCRIPT = "train.py"
DEFAULT_REQUIREMENTS = "requirements.txt"
# The expression of PEP 723 itself.
_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


@dataclass(frozen=True, slots=True)
class InlineMetadata:
    """The ``# /// script`` block of a single-file program."""

    requires_python: str | None
    """Version specifier, such as ``>=3.11``."""
    dependencies: tuple[str, ...]

    @property
    def requirements(self) -> str:
        """The dependencies as the text of a requirements file."""
        return "".join(f"{line}\n" for line in self.dependencies)


def choose_entry_script(files: Sequence[str], entry_script: str | None = None) -> str:
    """Check the entry script against the files that are packed, or find it.

    Args:
        files: Names of the packed files (``PackedSource.files``).
        entry_script: What the user asked for; None takes the only file, or ``train.py``.

    Returns:
        Its name inside the archive.

    Raises:
        InvalidSpec: It is not there, lies outside, or is neither a .py nor a .sh file.
    """
    scripts = [name for name in files if name.endswith(SUFFIXES)]
    if entry_script is None:
        if len(files) == 1:
            entry_script = files[0]
        elif DEFAULT_SCRIPT in files:
            entry_script = DEFAULT_SCRIPT
        else:
            raise InvalidSpec(
                f"`entry_script` must be given for a source without {DEFAULT_SCRIPT}; "
                f"scripts in it: {_listed(scripts)}"
            )
    name = PurePosixPath(entry_script)
    if name.is_absolute() or ".." in name.parts:
        raise InvalidSpec(
            f"`entry_script` must be a path inside the source directory, got {entry_script!r}"
        )
    if str(name) not in files:
        near = difflib.get_close_matches(str(name), files, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"scripts in it: {_listed(scripts)}"
        raise InvalidSpec(
            f"`entry_script` must be a file of the source that is not ignored, got "
            f"{entry_script!r}; {hint}"
        )
    if name.suffix not in SUFFIXES:
        raise InvalidSpec(f"`entry_script` must end in .py or .sh, got {entry_script!r}")
    return str(name)


def choose_requirements(files: Sequence[str], requirements: str | None) -> str | None:
    """Check the name of a requirements file against the files that are packed, or find it.

    Args:
        files: Names of the packed files.
        requirements: What the user asked for; None takes ``requirements.txt`` where there is one,
            as SageMaker's training toolkit does; an empty text takes none.

    Raises:
        InvalidSpec: It is not there.
    """
    if requirements is None:
        return DEFAULT_REQUIREMENTS if DEFAULT_REQUIREMENTS in files else None
    if not requirements:
        return None
    name = str(PurePosixPath(requirements))
    if name not in files:
        near = difflib.get_close_matches(name, files, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "add the file or leave the option out"
        raise InvalidSpec(
            f"`requirements` must be a file of the source, got {requirements!r}; {hint}"
        )
    return name


def inline_metadata(script: str) -> InlineMetadata | None:
    """Read the PEP 723 block of a script; None if it has none.

    Args:
        script: The text of the script.

    Raises:
        InvalidSpec: There are two blocks, or the block is malformed.
    """
    blocks = [found["content"] for found in _BLOCK.finditer(script) if found["type"] == "script"]
    if not blocks:
        return None
    if len(blocks) > 1:
        raise InvalidSpec(f"a script must have one `# /// script` block, it has {len(blocks)}")
    lines = blocks[0].splitlines(keepends=True)
    text = "".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSpec(f"the `# /// script` block must be TOML: {error}") from None
    return _checked(data)


def inline_metadata_of(path: Path) -> InlineMetadata | None:
    """Read the PEP 723 block of a script file; None if it has none or is no text."""
    try:
        return inline_metadata(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return None


def _checked(data: dict[str, object]) -> InlineMetadata:
    dependencies = data.get("dependencies", [])
    python = data.get("requires-python")
    if not isinstance(dependencies, list) or not all(
        isinstance(line, str) and line.strip() and "\n" not in line for line in dependencies
    ):
        raise InvalidSpec(
            f"`dependencies` of the `# /// script` block must be a list of requirement strings, "
            f"got {dependencies!r}"
        )
    if python is not None and not isinstance(python, str):
        raise InvalidSpec(
            f"`requires-python` of the `# /// script` block must be a string such as "
            f'">=3.11", got {python!r}'
        )
    _check_specifiers(dependencies, python)
    return InlineMetadata(python, tuple(dependencies))


def _check_specifiers(dependencies: Sequence[str], python: str | None) -> None:
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - rare
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - rare

    for line in dependencies:
        try:
            Requirement(line)
        except InvalidRequirement as error:
            raise InvalidSpec(
                f"`dependencies` of the `# /// script` block must hold requirements such as "
                f'"numpy>=2", got {line!r}: {error}'
            ) from None
    try:
        SpecifierSet(python or "")
    except InvalidSpecifier as error:
        raise InvalidSpec(
            f"`requires-python` of the `# /// script` block must be a version specifier such as "
            f'">=3.11": {error}'
        ) from None


def check_python(wanted: str, version: str) -> None:
    """Check the version of the job's interpreter against ``requires-python``.

    Args:
        wanted: What the script's block says.
        version: Version of the interpreter, such as ``3.11.7``.

    Raises:
        InvalidSpec: They do not fit.
    """
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - rare

    if not SpecifierSet(wanted).contains(version, prereleases=True):
        raise InvalidSpec(
            f"the script needs Python {wanted}, the job's interpreter is {version}; choose "
            "another interpreter or image"
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10]) or "none"
    return f"{shown}, … ({len(names)} in all)" if len(names) > 10 else shown

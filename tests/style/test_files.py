"""Every source file stays short enough to be read in one go."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("orchestrator", "containers", "jobs", "tests", "infra")
MOST_LINES = 500


def sources() -> list[Path]:
    """Every Python file of the project."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def number_of_lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def test_no_file_is_longer_than_the_cap():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if (lines := number_of_lines(path)) > MOST_LINES
    }
    assert not long, f"split by meaning, not by size; at most {MOST_LINES} lines: {long}"


def test_a_package_readme_stays_within_120_lines():
    folders = [ROOT / "orchestrator", ROOT / "containers" / "runtime"]
    readmes = [path for folder in folders for path in folder.rglob("README.md")]
    long = {str(path.relative_to(ROOT)): number_of_lines(path) for path in readmes}
    assert all(lines <= 120 for lines in long.values()), long

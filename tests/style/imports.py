"""Which modules a Python file imports, read from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RUNTIME = ROOT / "containers" / "runtime" / "orchestrator_runtime"


def parse(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def names(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names of the absolute imports among the nodes."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def imported(path: Path) -> set[str]:
    """Every import of a file, at any depth."""
    return set(names(ast.walk(parse(path))))


def imported_members(path: Path, package: str) -> set[str]:
    """What a file takes from a package: names of its modules or of things defined in it."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names}
    dotted = [name.split(".") for name in imported(path)]
    return found | {parts[1] for parts in dotted if parts[0] == package and len(parts) > 1}


def loaded_at_once(path: Path) -> set[str]:
    """The imports that run when the file is loaded: not those in functions or under TYPE_CHECKING."""
    return set(names(nodes_run_at_load(parse(path).body)))


def nodes_run_at_load(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Statements that run when a module is loaded."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from nodes_run_at_load(node.body + node.orelse)
        elif isinstance(node, ast.ClassDef | ast.With):
            yield from nodes_run_at_load(node.body)
        # A `try` around an import is a file's own way to live without the module.

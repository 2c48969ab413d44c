"""`make bench`: how fast this is, beside bare processes, bare docker and TorchX, in one run.

Contenders take turns, so that they share whatever else the machine does; a ratio is the median over
the rounds. Targets are those of the design; none is asserted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import table
from tests.benchmarks.measure import Line, Options, Skipped

GROUPS = {
    "job": "tests.benchmarks.bench_job",
    "docker": "tests.benchmarks.bench_docker",
    "cli": "tests.benchmarks.bench_cli",
    "service": "tests.benchmarks.bench_service",
    "list": "tests.benchmarks.bench_list",
    "accept": "tests.benchmarks.bench_accept",
    "logs": "tests.benchmarks.bench_logs",
    "restart": "tests.benchmarks.bench_restart",
    "s3": "tests.benchmarks.bench_s3",
    "aws": "tests.benchmarks.bench_aws",
    "debugger": "tests.benchmarks.bench_debugger",
    "tuning": "tests.benchmarks.bench_tuning",
}
"""Name and module of each group of rows; a module has `rows(options)`."""


def arguments(words: list[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: a smoke test")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(GROUPS),
        metavar="NAME",
        help=f"measure only this group; may be repeated: {', '.join(GROUPS)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all values there")
    parser.add_argument("--folder", type=Path, help="where homes are put; its disk counts")
    return parser.parse_args(words)


def measured(names: list[str], options: Options) -> Iterator[Line]:
    """Measure groups; one that fails costs only itself."""
    for name in names:
        module = importlib.import_module(GROUPS[name])
        try:
            yield from module.rows(options)
        except (AssertionError, OSError, LookupError, RuntimeError, ValueError) as error:
            yield Skipped(f"group {name}", f"{type(error).__name__}: {error}")


def main(words: list[str] | None = None) -> list[Line]:
    """Measure, print, and return the lines."""
    given = arguments(words)
    facts = table.machine()
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    print(table.HEAD, flush=True)
    started = time.monotonic()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder) as folder:
        for line in measured(given.only or list(GROUPS), Options(Path(folder), given.quick)):
            lines.append(line)
            print(table.text(line), flush=True)
    print(f"{table.totals(lines)} ({time.monotonic() - started:.0f} s)")
    if given.json:
        document = {"machine": facts, "rows": [line.facts() for line in lines]}
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return lines


if __name__ == "__main__":
    sys.exit(any(isinstance(line, Skipped) for line in main()))

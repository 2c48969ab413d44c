"""What was measured, on disk: a run that is there is not repeated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cell:
    """One search.

    Attributes:
        problem: What was minimised.
        searcher: Who searched.
        version: Of the searcher: another one is another cell.
        parallel: Training jobs that ran at once.
        jobs: Training jobs in all.
        seed: Of the search and of the durations.
    """

    problem: str
    searcher: str
    version: str
    parallel: int
    jobs: int
    seed: int


class Results:
    """A file of searches, one line each; what is found there is taken from there.

    Args:
        path: The file; made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = dict(_read(path))

    def losses(self, cell: Cell) -> list[float] | None:
        """Return the losses of a search in the order of their ends; None = it was not made."""
        return self._known.get(cell)

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Return the searches that were not made yet, in the given order."""
        return [cell for cell in cells if cell not in self._known]

    def newest_version(self, searcher: str) -> str | None:
        """Return the version of a searcher's last search here; None = there is none."""
        found = [cell.version for cell in self._known if cell.searcher == searcher]
        return found[-1] if found else None

    def add(self, cell: Cell, losses: list[float]) -> None:
        """Keep a search, durably."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(cell), "losses": losses}) + "\n")
        self._known[cell] = losses


def _read(path: Path) -> Iterator[tuple[Cell, list[float]]]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found = json.loads(line)
        except ValueError:  # a line that was cut off: that search is made again
            continue
        losses = found.pop("losses")
        yield Cell(**found), losses

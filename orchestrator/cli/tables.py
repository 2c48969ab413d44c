"""Tables: rich where somebody looks, plain columns elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchestrator.cli.output import STATUS_STYLES, safe, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

LEAST_COLUMNS = 12


def draw(
    rows: Sequence[Sequence[str]], header: Sequence[str], *, status_column: int | None = None
) -> None:
    """Print rows below their header.

    On a terminal the last column is cut at the edge of the screen; elsewhere nothing is cut.

    Args:
        rows: Cells as they are; what would steer a terminal is taken out here.
        header: Titles of the columns.
        status_column: Which column is coloured as a status.
    """
    if not sys.stdout.isatty():
        sys.stdout.write("".join(f"{line}\n" for line in table(rows, header)))
        return
    from rich.console import Console

    Console(highlight=False).print(for_terminal(rows, header, status_column=status_column))


def for_terminal(
    rows: Sequence[Sequence[str]], header: Sequence[str], *, status_column: int | None = None
) -> Table:
    """Return rows below their header; the last column alone gives way where the screen ends.

    Args:
        rows: Cells as they are; what would steer a terminal is taken out here.
        header: Titles of the columns.
        status_column: Which column is coloured as a status.
    """
    from rich.table import Table
    from rich.text import Text

    # Rich takes room from columns that may wrap, and where none may from all of them alike, down
    # to nothing: so the last one may, and its texts do not.
    texts = [[Text(safe(cell), no_wrap=True, overflow="ellipsis") for cell in row] for row in rows]
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, title in enumerate(header):
        widest = max([len(title), *(cells[place].cell_len for cells in texts)])
        last = place == len(header) - 1
        drawn.add_column(
            title,
            no_wrap=not last,
            overflow="ellipsis",
            min_width=min(widest, LEAST_COLUMNS) if last else widest,
        )
    for cells in texts:
        if status_column is not None:
            cells[status_column].stylize(STATUS_STYLES.get(cells[status_column].plain, "cyan"))
        drawn.add_row(*cells)
    return drawn

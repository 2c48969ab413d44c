"""Tables: rich where somebody looks, plain columns elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchestrator.cli.output import STATUS_STYLES, safe, table

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, title in enumerate(header):
        last = place == len(header) - 1
        drawn.add_column(title, no_wrap=True, overflow="ellipsis", ratio=1 if last else None)
    for cells in rows:
        texts = [Text(safe(cell)) for cell in cells]
        if status_column is not None:
            cell = texts[status_column]
            cell.stylize(STATUS_STYLES.get(cell.plain, "cyan"))
        drawn.add_row(*texts)
    Console(highlight=False).print(drawn)

"""Tables on stdout. Figures are always complete: if a terminal is narrow, only names and words fold."""

from collections.abc import Collection, Sequence

from reid_toolkit.cli.console import printable

PIPED_WIDTH = 1000
"""Columns of a table for a file or another program, so that each row is one line."""
NARROWEST = 8
"""Columns of a name that folds. If even that does not fit, the terminal breaks the line."""


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, fold: Collection[str] = (), title: str = ""
) -> None:
    """Print a table. ``fold`` are the columns that may become narrower; all others keep their width."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    words = [[printable(str(cell)) for cell in row] for row in rows]
    columns = []
    for place, name in enumerate(header):
        width = max(map(cell_len, [name, *(row[place] for row in words if place < len(row))]))
        if name in fold:
            columns.append(Column(name, overflow="fold", min_width=min(width, NARROWEST)))
        else:
            columns.append(Column(name, no_wrap=True, min_width=width))
    heading = Text(printable(title), overflow="fold") if title else None
    table = Table(*columns, title=heading, title_justify="left", box=None)
    for row in words:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table, crop=False)

"""Rows of an experiment, for the terminal and for a file."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from nas_runtime.console import new_console

__all__ = ["show", "write"]


def show(title: str, rows: Sequence[Mapping[str, str]], path: Path, *, width: int = 120) -> None:
    """Prints `rows`, all of the same columns, as a table, the first column to the left; and writes them to `path`."""
    first, *others = rows[0]
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in others:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row.values())
    new_console(width=width).print(table)
    write(rows, path)


def write(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Writes `rows` as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)

"""Rows of an experiment, for the terminal and for a file that says where they are from."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from experiments import provenance
from nas_runtime.console import new_console
from nas_runtime.files import write_text

__all__ = ["RESULTS", "named", "read", "show", "write"]

RESULTS = Path(__file__).parent / "results"


def show(
    title: str, rows: Sequence[Mapping[str, str]], path: Path, *, origin: Mapping[str, str], width: int = 120
) -> None:
    """Prints `rows`, all of the same columns, as a table, the first column to the left; and writes them to `path`."""
    first, *others = rows[0]
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in others:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row.values())
    new_console(width=width).print(table)
    write(rows, path, origin=origin)


def write(rows: Sequence[Mapping[str, Any]], path: Path, *, origin: Mapping[str, str]) -> None:
    """Writes `rows` as CSV, and above them `origin`, their `provenance.of`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, provenance.header(origin) + text.getvalue())


def read(path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The provenance and the rows of a file that `write` wrote.

    Raises:
        ValueError: it does not say where it is from.
    """
    try:
        origin, text = provenance.split(path.read_text())
    except ValueError as e:
        raise ValueError(f"{path.name}: {e}") from None
    return origin, list(csv.DictReader(io.StringIO(text)))


def named(name: str, setting: Mapping[str, Any], defaults: Mapping[str, Any]) -> Path:
    """The CSV file of an experiment's results; its name says which settings were not the defaults."""
    other = [f"{key}={value}" for key, value in setting.items() if value != defaults[key] and key != "path"]
    return RESULTS / f"{'_'.join((name, *other))}.csv"

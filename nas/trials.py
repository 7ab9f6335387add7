"""`python -m nas.trials run=runs/mine`: the networks that a search has evaluated, as a table.

    python -m nas.trials run=RUN_DIR [where="status == 'ok' and latency_ms < 12"] [sort=reward] [top=20]
                         [file=trials.csv]

The table has a row for each sample, the one with the most of `sort` first; ``sort=-latency_ms``: the one with the
least. `where` is a condition on columns, as pandas' ``DataFrame.eval`` takes it. A file gets all rows and columns, the
choices of each network too: ``.csv``, or ``.parquet``. A search that still runs can be looked at.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from rich.table import Table

from nas.searched import Searched, open_search
from nas_runtime.command import run_plain
from nas_runtime.console import brief, counted, did_you_mean, new_console
from nas_runtime.files import FileError, complete
from nas_runtime.kinds import AnyPath, Text
from nas_runtime.options import Options, read_plain
from search_spaces import cost

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["TrialsOptions", "main", "table_of"]

_SHOWN = ("sample", "status", "top1", "latency_ms", "reward", "madds_m", "params_m", "seconds", "reused")
_SUFFIXES = (".csv", ".parquet")


class TrialsOptions(Options):
    """Shows the networks that a search has evaluated."""

    run: AnyPath | None = Field(default=None, description="the folder of a run of nas.search")
    where: Text | None = Field(default=None, description="which rows: a condition on columns, as latency_ms < 12")
    sort: Text = Field(
        default="reward", description="the column of which the most comes first; with - before it, the least"
    )
    top: int = Field(default=20, ge=1, le=10**9, description="so many rows are printed")
    file: AnyPath | None = Field(default=None, description="that gets all of them: .csv or .parquet")


def main(arguments: list[str]) -> None:
    options = read_plain(TrialsOptions, arguments)
    if options.run is None:
        raise ValueError("no run: add run=, the folder of a search: python -m nas.trials run=runs/mine")
    if options.file and options.file.suffix not in _SUFFIXES:
        raise ValueError(f"file={options.file}: it must end in {' or '.join(_SUFFIXES)}")
    searched = open_search(options.run)
    rows = _sorted(_chosen(table_of(searched), options.where), options.sort)
    _show(rows, searched, options.top)
    if searched.note:
        new_console().print(f"note: {searched.note}")
    if options.file:
        _write(rows, options.file)
        new_console().print(f"{counted(len(rows), 'row')} in {options.file}")


def table_of(searched: Searched) -> "DataFrame":
    """A row for each sample of a search: its figures, what it costs by the search's limits, and the options of its
    choices."""
    from pandas import DataFrame

    rows = [
        {
            "sample": trial.sample,
            "status": trial.status,
            "top1": trial.top1,
            "latency_ms": trial.latency_ms,
            "reward": trial.reward,
            "madds_m": cost.madds(trial.arch) / 1e6,
            "params_m": cost.params(trial.arch) / 1e6,
            "seconds": trial.seconds,
            "reused": trial.reused,
            **{name: value for name, value in trial.costs.items() if name not in ("madds_m", "params_m")},
            "note": trial.note,
            **searched.space.describe(trial.indices),
        }
        for trial in searched.trials
    ]
    return DataFrame(rows).astype({"reused": "Int64"}) if rows else DataFrame(columns=[*_SHOWN, "note"])


def _chosen(rows: "DataFrame", where: str | None) -> "DataFrame":
    if where is None:
        return rows
    from pandas import Series

    try:
        holds = rows.eval(where)
        if not isinstance(holds, Series) or holds.dtype != bool:
            raise ValueError("that is no condition")
        return rows.loc[holds]
    except Exception as e:  # what pandas, Python's parser and the columns' types say of a condition
        names, why = ", ".join(_SHOWN), (str(e).splitlines() or [type(e).__name__])[0]
        raise ValueError(
            f"where={brief(where)}: {brief(why, most=120)}; give a condition on columns, as "
            f"\"status == 'ok' and latency_ms < 12\" ({names}; choices in backticks, as `block1.kernel`)"
        ) from None


def _sorted(rows: "DataFrame", by: str) -> "DataFrame":
    name = by.removeprefix("-")
    if name not in rows.columns:
        raise ValueError(
            f"sort={brief(by)}: no such column{did_you_mean(name, rows.columns)}; there are {', '.join(_SHOWN)}"
        )
    return rows.sort_values(name, ascending=by.startswith("-"), kind="stable")


def _show(rows: "DataFrame", searched: Searched, top: int) -> None:
    title = f"{counted(len(rows), 'sample')} of {searched.path}"
    table = Table(title=title if len(rows) <= top else f"{title}, the first {top}", title_justify="left")
    costs = [
        name for name in rows.columns[len(_SHOWN) :] if name not in ("note", *(c.name for c in searched.space.choices))
    ]
    columns = [*_SHOWN, *costs]
    for column in columns:
        table.add_column(column, justify="left" if column == "status" else "right")
    for row in rows.head(top)[columns].itertuples(index=False):
        table.add_row(*("" if value != value or value is None else _cell(value) for value in map(_plain, row)))
    new_console(width=160).print(table)


def _plain(value: object) -> object:
    from pandas import NA

    return None if value is NA else value


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(rows: "DataFrame", file: Path) -> None:
    try:
        with complete(file) as partial:
            rows.to_csv(partial, index=False) if file.suffix == ".csv" else rows.to_parquet(partial, index=False)
    except OSError as e:
        raise FileError(f"file={file} cannot be written ({e.strerror or e})") from None


if __name__ == "__main__":
    run_plain(main, TrialsOptions)

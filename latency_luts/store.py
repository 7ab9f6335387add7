"""Where tables live: shipped ones in the package, a user's own in the checkout or the user's data folder."""

import difflib
import os
from pathlib import Path

from latency_luts.interpolated import InterpolatedModel
from latency_luts.model import LatencyModel
from latency_luts.table import MeasuredTable, TableError, read

__all__ = ["check_replaceable", "load", "names", "table_path", "user_tables_dir"]

_PACKAGE_TABLES = Path(__file__).parent / "tables"
REPORT = "validation.json"  # of the latest validation; lies beside the tables
SHIPPED = ("pixel1", "pixel2", "pixel3")  # in a checkout the same folder also holds the user's own tables


def load(
    name: str | os.PathLike[str], *, model: str = "table", tables_dir: str | os.PathLike[str] | None = None
) -> LatencyModel:
    """The latency model of a device.

    Args:
        model: ``table`` knows the table's units only; ``interpolated`` also units of other widths.
        name: a device name, or the path of a table file (anything with a ``/`` or ending in ``.json``).
        tables_dir: where the user's tables are; `user_tables_dir` if None. Shipped tables are found in any case.

    Raises:
        TableError: no such table, or a damaged one.
    """
    kinds = {"table": LatencyModel, "interpolated": InterpolatedModel}
    if model not in kinds:
        raise TableError(f"no latency model {model!r}; there are: {', '.join(kinds)}")
    return kinds[model](read(_path_of(os.fspath(name), tables_dir)))


def _path_of(text: str, tables_dir: str | os.PathLike[str] | None) -> Path:
    """The table file that a name or path stands for."""
    if os.sep in text or text.endswith(".json"):
        return Path(text)
    path = _user_dir(tables_dir) / f"{text}.json"
    if not path.exists() and text in SHIPPED:
        path = _PACKAGE_TABLES / f"{text}.json"
    if path.exists():
        return path
    known = names(tables_dir=tables_dir)
    close = difflib.get_close_matches(text, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    build = " Measure this machine with: python -m latency_luts.build device=host" if text == "host" else ""
    raise TableError(f"no latency table for device {text!r}{hint} (there are: {', '.join(known)}).{build}")


def names(*, tables_dir: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """All devices that have a table."""
    own = (path.stem for path in _user_dir(tables_dir).glob("*.json") if path.name != REPORT)
    return tuple(sorted({*SHIPPED, *own}))


def table_path(device: str, *, tables_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where the user's own table of `device` is, or will be."""
    return _user_dir(tables_dir) / f"{device}.json"


def check_replaceable(path: Path) -> None:
    """Refuses to lose what was measured.

    Raises:
        TableError: the table file `path` was measured by this project.
    """
    table = read(path) if path.exists() else None
    if isinstance(table, MeasuredTable) and table.timed:
        raise TableError(f"{path} holds what was measured on a device; take another device name, or remove the file")


def user_tables_dir() -> Path:
    """``latency_luts/tables`` of a checkout; for an installed package a folder in the user's data directory."""
    if (_PACKAGE_TABLES.parents[1] / "pyproject.toml").exists():
        return _PACKAGE_TABLES
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "latency_luts" / "tables"


def _user_dir(tables_dir: str | os.PathLike[str] | None) -> Path:
    return user_tables_dir() if tables_dir is None else Path(tables_dir)

"""Where tables live: shipped ones in the package, a user's own in the checkout or the user's data folder."""

import os
from pathlib import Path
from typing import Any

from latency_luts.interpolated import InterpolatedModel
from latency_luts.model import LatencyModel
from latency_luts.table import ONNXRUNTIME, Identity, MeasuredTable, TableError, read
from nas_runtime.console import brief, did_you_mean
from nas_runtime.files import check_name

__all__ = [
    "PUBLISHED",
    "check_device",
    "check_elsewhere",
    "check_measured_here",
    "check_replaceable",
    "load",
    "measured_as",
    "names",
    "own_path",
    "read_own",
    "shipped_path",
    "table_path",
    "user_tables_dir",
]

_PACKAGE_TABLES = Path(__file__).parent / "tables"
REPORT = "validation.json"  # of the latest validation; lies beside the tables
HOST = "host"  # this machine
_CORES = ("pixel4", "pixel4_medium", "pixel4_little", "mi8se", "mi8se_little", "a03s", "a03s_little", "iphone7")
PUBLISHED = tuple(f"{name}_tflite{ending}" for ending in ("", "_int8") for name in _CORES)
SHIPPED = ("pixel1", "pixel2", "pixel3", *PUBLISHED)
"""In a checkout the same folder also holds the user's own tables."""


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
        path = shipped_path(text)
    if path.exists():
        return path
    known = names(tables_dir=tables_dir)
    hint = did_you_mean(text, (*known, HOST))
    build = " Measure this machine with: python -m latency_luts.build device=host" if text == HOST else ""
    raise TableError(
        f"no latency table for device {brief(text)!r}{hint} (there are: {', '.join(known)}; your own are looked for in "
        f"{_user_dir(tables_dir)}).{build}"
    )


def names(*, tables_dir: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """All devices that have a table."""
    own = (path.stem for path in _user_dir(tables_dir).glob("*.json"))
    return tuple(sorted({*SHIPPED, *filter(_is_device, own)}))


def check_device(device: str) -> str:
    """`device`, if a table can be called that.

    Raises:
        ValueError: it is no name of a file (see `files.check_name`), or taken by the report of validations.
    """
    check_name(device, "device")
    if device.lower() == Path(REPORT).stem:
        raise ValueError(f"device={device}: {REPORT} is the report of the latest validation; take another name")
    return device


def table_path(device: str, *, tables_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where the user's own table of `device` is, or will be.

    Raises:
        ValueError: no table can be called that.
    """
    return _user_dir(tables_dir) / f"{check_device(device)}.json"


def own_path(device: str, *, tables_dir: str | os.PathLike[str] | None = None, shipped_elsewhere: bool = False) -> Path:
    """Where a table of `device` may be written; shipped tables are never replaced or hidden.

    Args:
        shipped_elsewhere: a table with a shipped one's name may be written to another folder, to compare them.

    Raises:
        ValueError: no table can be called that, or it is a shipped one.
    """
    path = table_path(device, tables_dir=tables_dir)
    if device.lower() not in SHIPPED:
        return path
    if not shipped_elsewhere:
        raise ValueError(f"device={device} is a shipped table; use another name")
    own = (_PACKAGE_TABLES, user_tables_dir(), shipped_path(device.lower()).parent)
    if path.parent.resolve() in {folder.resolve() for folder in own}:
        raise ValueError(
            f"device={device} is a shipped table, which is not replaced; use another name, or make it again in another "
            "folder with tables_dir=DIR"
        )
    return path


def shipped_path(device: str) -> Path:
    """The file of a table that is shipped, or will be."""
    return _PACKAGE_TABLES / ("published" if device in PUBLISHED else "") / f"{device}.json"


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """Refuses to lose what was measured.

    Raises:
        TableError: the table file `path` was measured by this project.
    """
    table = read(path) if os.path.exists(path) else None
    if isinstance(table, MeasuredTable) and table.timed:
        raise TableError(f"{path} holds what was measured on a device; take another device name, or remove the file")


def check_measured_here(device: str, path: str | os.PathLike[str], here: Identity) -> None:
    """Refuses to measure this machine as another device.

    This machine is ``host``; also names that begin with it (``host_int8``) and tables that were measured on this very
    CPU are its own.

    Raises:
        TableError: `device` is not this machine.
    """
    if device == HOST:
        return
    remedy = (
        f"measure {device} itself with python -m latency_luts.bundle device={device}, or with ray.address=; this "
        f"machine is device={HOST} or device={HOST}_NAME"
    )
    if os.path.exists(path):
        table = read(path)
        if isinstance(table, MeasuredTable) and table.timed and table.identity.cpu != here.cpu:
            raise TableError(f"{path} was measured on {table.identity.cpu}, and this is {here.cpu}; {remedy}")
    elif not device.startswith(HOST):
        raise TableError(
            f"device={device} is not this machine, {here.cpu}, which is all that can be measured here; {remedy}"
        )


def check_elsewhere(device: str, how: str) -> str:
    """`device`, if a table that was not measured here can be called that.

    Args:
        how: the option that says so, for the message: ``from=``.

    Raises:
        ValueError: it is this machine's.
    """
    if check_device(device) == HOST:
        raise ValueError(f"device={HOST} is this machine; with {how} give the other device a name of its own")
    return device


def read_own(path: str | os.PathLike[str], how: Identity, *, options: str = "") -> MeasuredTable:
    """The table in the file `path`, to which measurements of the machine `how` can be added.

    Args:
        options: of latency_luts.build, beside the device, with which that machine is measured, for the message.

    Raises:
        TableError: it was not measured by this project, or on another machine, with another runtime or in another way.
    """
    table = read(path)
    if not isinstance(table, MeasuredTable):
        raise TableError(f"{path} is a {table.kind} table; measure under another device name")
    if table.timed is None:
        raise TableError(f"{path} was not measured by this project; measure under another device name")
    if table.identity != how:
        raise TableError(f"{path} was measured with {_difference(table, how, options)}")
    return table


def measured_as(path: str | os.PathLike[str]) -> dict[str, Any]:
    """How the table in the file `path` was measured, as `measure.identity` takes it; empty if there is none."""
    table = read(path) if os.path.exists(path) else None
    if not isinstance(table, MeasuredTable) or not table.timed:
        return {}
    its = table.identity
    return {"threads": its.threads, "batch": its.batch, "dtype": its.dtype, "runtime": its.runtime_name}


def _difference(table: MeasuredTable, now: Identity, options: str) -> str:
    """What `table` was measured with and what is here, where they differ, and what to do."""
    was = table.identity
    changed = [name for name in vars(was) if getattr(was, name) != getattr(now, name)]
    before, here = (", ".join(f"{name} {getattr(x, name)}" for name in changed) for x in (was, now))
    words = f"{before}, but here is {here}"
    choices = {"threads": was.threads, "batch": was.batch, "dtype": was.dtype}
    if was.runtime_name != now.runtime_name:
        choices["runtime"] = was.runtime_name
    given = " ".join(f"{name}={value}" for name, value in choices.items() if name in changed)
    runtime = "" if now.runtime_name == ONNXRUNTIME else f"runtime={now.runtime_name}"
    build = f"python -m latency_luts.build device={table.device}"
    command = " ".join(filter(None, (build, runtime, options, "fresh=true")))
    if "cpu" in changed and table.device != HOST:
        return f"{words}; only that machine can add to it or validate it: take another device name"
    if given:
        return f"{words}; give {given}, or another device name, or measure again with: {command}"
    return f"{words}; measure again with: {command}"


def user_tables_dir() -> Path:
    """``latency_luts/tables`` of a checkout; for an installed package a folder in the user's data directory."""
    if (_PACKAGE_TABLES.parents[1] / "pyproject.toml").exists():
        return _PACKAGE_TABLES
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "latency_luts" / "tables"


def _user_dir(tables_dir: str | os.PathLike[str] | None) -> Path:
    return user_tables_dir() if tables_dir is None else Path(tables_dir)


def _is_device(name: str) -> bool:
    try:
        return bool(check_device(name))
    except ValueError:
        return False

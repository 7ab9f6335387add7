"""``run.json``: what the directory of a run says it is."""

import shlex
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from nas_runtime.console import brief
from nas_runtime.files import FileError, read_json, write_json
from nas_runtime.plain import is_mapping

__all__ = ["FILE", "FORMAT", "Manifest", "RunError", "check", "keep", "read"]

FILE = "run.json"
FORMAT = 1
"""Of a run's directory. A higher one is given to what this program cannot read."""

_PROJECT = "platform-aware-nas"


class RunError(ValueError):
    """A run directory that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a directory is.

    Attributes:
        kind: of run: ``search``, ``netadapt``, or the name of an experiment.
        version: of the project that made it; None: unknown.
        command: that made it.
        created: when, in UTC and ISO 8601; None where an earlier version made it, which did not say.
        latest_command: that wrote to it last: what may differ in a run that is continued is as this one had it; None:
            an earlier version did not say.
    """

    kind: str
    format: int
    version: str | None
    command: str
    created: str | None
    latest_command: str | None = None


def read(path: Path) -> Manifest | None:
    """What the directory `path` says it is; None if it says nothing, as those of earlier versions.

    Raises:
        RunError: the file is damaged, or of a newer version, which this one does not know.
    """
    file = path / FILE
    try:
        found = read_json(file) if path.is_dir() else None
    except FileError as e:
        raise RunError(f"{str(e).partition(';')[0]}; restore it, or use another folder") from None
    if found is None:
        return None
    _check_format(path, found)
    try:
        return Manifest(**{name: found[name] for name in _FIRST}, latest_command=found.get("latest_command"))
    except KeyError as e:
        raise RunError(f"{file} does not say its {e}; restore it, or use another folder") from None


_FIRST = [name for name in Manifest.__dataclass_fields__ if name != "latest_command"]
"""What the command wrote that made a directory."""


def _check_format(path: Path, found: Any) -> None:
    if not is_mapping(found) or not isinstance(found.get("format"), int):
        raise RunError(f"{path / FILE} is not a run's; restore it, or use another folder")
    if found["format"] > FORMAT:
        raise RunError(
            f"{path} is of a newer version of this program (format {found['format']} of {brief(found.get('version'))}; "
            f"this one reads up to {FORMAT}); update the program, or use another folder"
        )


def check(path: Path, kind: str) -> None:
    """Refuses a directory of another kind of run.

    Raises:
        RunError: it is one; or as `read` does.
    """
    its = read(path)
    if its and its.kind != kind:
        raise RunError(
            f"{path} holds a run of {brief(its.kind)}, not of {kind}; use another run_dir, or continue it with its own "
            f"command: {brief(its.command, most=300)}"
        )


def keep(path: Path, kind: str, *, resumed: bool) -> None:
    """Writes what the directory `path` is; if that is there, only which command writes to it now.

    Args:
        resumed: whether something was there already: what made it, and when, is not known then.

    Raises:
        RunError: as `read` does.
    """
    now = _now(kind, resumed=resumed)
    its = read(path) or now
    if its.latest_command != now.command:
        write_json(path / FILE, asdict(replace(its, latest_command=now.command)))


def _now(kind: str, *, resumed: bool) -> Manifest:
    try:
        version = metadata.version(_PROJECT)
    except metadata.PackageNotFoundError:
        version = None
    return Manifest(
        kind=kind,
        format=FORMAT,
        version=version,
        command=shlex.join(["python", *sys.orig_argv[1:]]),
        created=None if resumed else datetime.now(UTC).isoformat(timespec="seconds"),
    )

"""The directory of a run: what it is, what was asked for, where it ran, and what its stages came to.

Whether a run is continued, and what of it still counts, is decided here and nowhere else: a directory belongs to one
kind of run and one configuration, and what a stage came to belongs to all that it depends on, its identity. Reading
writes nothing; one process at a time writes.
"""

import contextlib
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from nas_runtime import manifest
from nas_runtime.files import FileError, only_writer, read_json, read_text, write_json, write_text
from nas_runtime.manifest import RunError
from nas_runtime.plain import is_mapping
from nas_runtime.records import Records

__all__ = ["Run", "RunError", "Stage", "look", "open_run", "open_shared"]

_BEGINNING = {manifest.FILE, "config.yaml", "environment.json", "table.json", "warm_start.json"}

_PART = "part_of"  # in a config: the run that a part belongs to

RUNS = Path("runs")
"""Where runs go that are given no directory, in the current one."""


class Stage:
    """What one stage of a run came to: values by name, in one file with those of the same stage by other identities.

    Attributes:
        values: what is kept by this identity.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path = path
        kept: dict[str, Any] = {"stages": []} if (found := read_json(path)) is None else found
        self._identity = json.loads(json.dumps(identity))
        try:
            mine = [stage["values"] for stage in kept["stages"] if stage["identity"] == self._identity]
        except (KeyError, TypeError):
            raise FileError(f"{path} is of an earlier version; start again in another run_dir") from None
        self._kept = kept
        self.values: dict[str, Any] = mine[0] if mine else {}
        if not mine:
            kept["stages"].append({"identity": self._identity, "values": self.values})

    def keep(self, name: str, value: Any) -> None:
        """Writes `value`, which is plain data."""
        self.values[name] = value
        write_json(self._path, self._kept)


class Run:
    """A run's directory, to be read; inside `open_run` or `open_shared`, to be written to.

    Attributes:
        path: the directory.
        resumed: whether something was there already.

    Raises:
        RunError: it is of a newer version of this program.
    """

    def __init__(self, path: Path, *, resumed: bool = True) -> None:
        manifest.read(path)
        self.path, self.resumed = path, resumed

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The settings of its latest call; None if there are none.

        Raises:
            RunError: they cannot be read.
        """
        return _config_of(self.path)

    def stage(self, name: str, identity: Mapping[str, Any]) -> Stage:
        """The stage `name`, as far as it was done with the same `identity`: all that its values depend on, as plain
        data."""
        return Stage(self.path / f"{name}.json", identity)

    def part(self, name: str, config: Mapping[str, Any]) -> "Run":
        """The folder `name` of this run, as a run of the same kind, machine and command with the settings `config`: for
        commands that take a run's folder."""
        path = self.path / name
        path.mkdir(exist_ok=True)
        _write_config(path, {**config, _PART: str(self.path)})
        for file in (manifest.FILE, "environment.json"):
            if (self.path / file).exists():
                write_json(path / file, read_json(self.path / file))
        return Run(path, resumed=self.resumed)

    def records(self, name: str, kind: str) -> Records:
        """The records in the file `name` (see `Records`): a stage of many values, each of which says what it is of."""
        return Records(self.path / name, kind)


def look(path: Path | None, config: Mapping[str, Any], *, kind: str, may_differ: Iterable[str]) -> bool:
    """Whether the directory holds a run of this kind and config, to be continued. Writes nothing.

    Args:
        path: None: a run that is given no directory.
        may_differ: top-level settings that do not change what a run finds, only how or how far it goes.

    Raises:
        RunError: the directory holds something else, another kind of run, one of a newer version, or one with other
            settings.
    """
    if path is None:
        return False
    manifest.check(path, kind)
    before = _config_of(path)
    if before is not None and before.get(_PART) is not None:
        raise RunError(f"{path} is a part of the run {before[_PART]}: continue that one, or use another run_dir")
    if before is None:
        if path.exists() and (not path.is_dir() or any(file.suffix != ".partial" for file in path.iterdir())):
            why = " (it has no config.yaml)" if path.is_dir() else ""
            raise RunError(f"{path} exists and is not a run's directory{why}; use another run_dir")
        return False
    if difference := _first_difference(before, config, {*may_differ, "run_dir"}):
        name, was, now = difference
        raise RunError(
            f"{path} holds a run with {name}={_shown(was)}, not {name}={_shown(now)}; use the same settings or another "
            "run_dir"
        )
    return True


def _config_of(path: Path) -> Mapping[str, Any] | None:
    import yaml

    if not path.is_dir():
        return None
    try:
        config = yaml.safe_load(read_text(path / "config.yaml"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, yaml.YAMLError) as e:  # ValueError: also of a date that is none
        why = " ".join(str(e).split())
        raise RunError(f"{path / 'config.yaml'} cannot be read ({why}); restore it, or use another folder") from None
    if not is_mapping(config):
        raise RunError(f"{path / 'config.yaml'} is not a run's; restore it, or use another folder")
    return config


def _write_config(path: Path, config: Mapping[str, Any]) -> None:
    import yaml

    write_text(path / "config.yaml", yaml.safe_dump({**config, "run_dir": str(path)}, sort_keys=False))


@contextlib.contextmanager
def open_run(
    path: Path | None,
    config: Mapping[str, Any],
    *,
    kind: str,
    may_differ: Iterable[str],
    environment: Callable[[], Mapping[str, Any]],
) -> Generator[Run]:
    """The run in the directory `path`, which no other process writes to meanwhile.

    ``config.yaml`` has the settings of the latest call, ``run.json`` and ``environment.json`` kind, command and machine
    of the first, and ``run.json`` the latest command too. Where an error ends the block before anything came of a new
    run, nothing of it is left.

    Args:
        path: None: a new one in `RUNS`.
        kind: of run, also for the name of a new directory: ``search``.
        environment: tells versions, machine and so on, as plain data.

    Raises:
        RunError: as `look` does; or the directory cannot be written.
        FileError: another process is at it.
    """
    resumed = look(path, config, kind=kind, may_differ=may_differ)
    new = [folder for folder in (path or RUNS, *(path or RUNS).parents) if not folder.exists()]
    try:
        if path is None:
            path = _new(kind)
            new.insert(0, path)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise RunError(f"run_dir={path} cannot be written ({e.strerror}); choose another run_dir") from None
    with only_writer(path, f"a {kind}"):
        try:
            try:
                # the config first: with nothing else in it the directory is a run's, which can be continued
                _write_config(path, config)
                manifest.keep(path, kind, resumed=resumed)
                if not (path / "environment.json").exists():
                    write_json(path / "environment.json", environment())
            except OSError as e:
                raise RunError(f"run_dir={path} cannot be written ({e.strerror}); choose another run_dir") from None
            yield Run(path, resumed=resumed)
        except (ValueError, OSError):
            if not resumed:
                _remove_if_empty(path, new)
            raise


@contextlib.contextmanager
def open_shared(path: Path, *, kind: str) -> Generator[Run]:
    """The directory `path`, which calls with many settings share (an experiment's), and no other process writes to
    meanwhile. It has no config: each of its records says what it is of.

    Raises:
        RunError: it holds another kind of run, or one of a newer version.
        FileError: another process is at it.
    """
    manifest.check(path, kind)
    resumed = path.is_dir() and any(file.name != manifest.FILE for file in path.iterdir())
    with only_writer(path, f"another {kind}"):
        manifest.keep(path, kind, resumed=resumed)
        yield Run(path, resumed=resumed)


def _remove_if_empty(path: Path, new: Iterable[Path]) -> None:
    """Removes the run at `path` if it holds no more than every run begins with, beside empty files, and those of the
    folders `new` in which nothing else is."""
    with contextlib.suppress(OSError):
        files = list(path.iterdir())
        if any(file.is_dir() or not (_is_beginning(file.name) or not file.stat().st_size) for file in files):
            return
        for file in files:
            file.unlink()
        for folder in new:
            folder.rmdir()


def _is_beginning(name: str) -> bool:
    return name in _BEGINNING or name.startswith("table_")


def _new(kind: str) -> Path:
    """A directory that did not exist before: runs that begin within one second get names of their own."""
    stem = RUNS / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    RUNS.mkdir(exist_ok=True)
    for number in range(1, 1000):
        path = stem if number == 1 else stem.with_name(f"{stem.name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise RunError(f"there are 999 runs named {stem}; give run_dir=")


def _first_difference(
    before: Any, now: Any, ignored: Iterable[str] = (), prefix: str = ""
) -> tuple[str, Any, Any] | None:
    if not (is_mapping(before) and is_mapping(now)):
        return None if before == now else (prefix, before, now)
    for name in dict.fromkeys((*before, *now)):
        if name in ignored:
            continue
        full = f"{prefix}.{name}" if prefix else str(name)
        if found := _first_difference(before.get(name), now.get(name), prefix=full):
            return found
    return None


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)

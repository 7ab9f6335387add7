"""Folders of classes: which of their files are read, and what is said of the rest."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nas.training.sources.images import is_picture, reads_heif
from nas.training.sources.wanted import DataError
from nas_runtime.console import counted

__all__ = ["ClassFolders", "listed", "scan"]

_SHOWN = 5  # kinds of files, or names of folders, in one line


@dataclass(frozen=True, kw_only=True)
class ClassFolders:
    """The pictures of each class, in a fixed order.

    Attributes:
        notes: what was left out, how many, and why.
    """

    files: Mapping[str, tuple[Path, ...]]
    notes: tuple[str, ...]

    @property
    def images(self) -> int:
        return sum(map(len, self.files.values()))


@dataclass(kw_only=True)
class _LeftOut:
    """What is not read, counted: files by their suffix, other things by what they are, folders by name."""

    suffixes: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """What was left out, in words; empty if nothing was."""
        said = []
        if self.suffixes:
            kinds = [f"{n:,} {suffix}" for suffix, n in self.suffixes.most_common(_SHOWN)]
            if more := self.suffixes.total() - sum(n for _, n in self.suffixes.most_common(_SHOWN)):
                kinds.append(f"{more:,} of other kinds")
            total = counted(self.suffixes.total(), "file")
            hint = "; pillow-heif reads .heic" if ".heic" in self.suffixes and not reads_heif() else ""
            said.append(f"{total} of kinds that are not read as images ({', '.join(kinds)}{hint})")
        said += [counted(n, thing) for thing, n in sorted(self.others.items())]
        if self.empty:
            names = ", ".join(self.empty[:_SHOWN]) + ", ..." * (len(self.empty) > _SHOWN)
            said.append(f"{counted(len(self.empty), 'folder')} without images ({names})")
        return ", ".join(said)


def scan(folder: Path) -> ClassFolders:
    """The pictures in each folder of `folder`, also in folders therein.

    Raises:
        DataError: there are no pictures at all.
    """
    notes: list[str] = []
    files = {name: tuple(folder / its for its in names) for name, names in listed(folder, notes)}
    return ClassFolders(files=files, notes=tuple(notes))


def listed(folder: Path, notes: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The name of each class in `folder`, and the paths of its pictures from there, all in the order of their names.

    A folder that is hidden, or has no pictures, is no class.

    Args:
        notes: what was left out is said here when all classes were given.

    Raises:
        DataError: there are no pictures at all.
    """
    left_out, found = _LeftOut(), False
    with os.scandir(folder) as entries:
        children = sorted(entries, key=lambda entry: entry.name)
    for child in children:
        if child.name.startswith("."):
            left_out.others["hidden name"] += 1
        elif not child.is_dir():
            left_out.others["file outside the class folders"] += 1
        elif names := sorted(_pictures(child.path, f"{child.name}/", left_out)):
            found = True
            yield child.name, names
        else:
            left_out.empty.append(child.name)
    said = left_out.describe()
    if not found:
        raise DataError(f"{folder} has no images in folders of classes" + (f", but {said}" if said else ""))
    if said:
        notes.append(f"{folder}: left out {said}")


def _pictures(folder: str, prefix: str, left_out: _LeftOut) -> Iterator[str]:
    """The pictures in `folder`; counts the rest. Links to folders therein are not followed: they can form a ring."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                left_out.others["hidden name"] += 1
            elif entry.is_dir():
                if entry.is_symlink():
                    left_out.others["linked folder"] += 1
                else:
                    yield from _pictures(entry.path, f"{prefix}{entry.name}/", left_out)
            elif not is_picture(entry.name):
                left_out.suffixes[os.path.splitext(entry.name)[1].lower() or "without a suffix"] += 1
            elif not entry.is_file():
                left_out.others["broken link"] += 1
            else:
                yield prefix + entry.name

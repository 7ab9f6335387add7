"""Folders of classes: which of their files are read, and what is said of the rest."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nas.training.sources.images import is_picture
from nas.training.sources.wanted import DataError
from nas_runtime.console import counted

__all__ = ["ClassFolders", "scan"]

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
            said.append(f"{total} of kinds that are not read as images ({', '.join(kinds)})")
        said += [counted(n, thing) for thing, n in sorted(self.others.items())]
        if self.empty:
            names = ", ".join(self.empty[:_SHOWN]) + ", ..." * (len(self.empty) > _SHOWN)
            said.append(f"{counted(len(self.empty), 'folder')} without images ({names})")
        return ", ".join(said)


def scan(folder: Path) -> ClassFolders:
    """The pictures in each folder of `folder`, also in folders therein.

    A folder that is hidden, or has no pictures, is no class.

    Raises:
        DataError: there are no pictures at all.
    """
    files: dict[str, tuple[Path, ...]] = {}
    left_out = _LeftOut()
    for child in sorted(folder.iterdir()):
        if child.name.startswith("."):
            left_out.others["hidden name"] += 1
        elif not child.is_dir():
            left_out.others["file outside the class folders"] += 1
        elif pictures := _pictures(child, left_out):
            files[child.name] = tuple(pictures)
        else:
            left_out.empty.append(child.name)
    said = left_out.describe()
    if not files:
        raise DataError(f"{folder} has no images in folders of classes" + (f", but {said}" if said else ""))
    return ClassFolders(files=files, notes=(f"{folder}: left out {said}",) if said else ())


def _pictures(folder: Path, left_out: _LeftOut) -> list[Path]:
    """The pictures in `folder`; counts the rest. Links to folders therein are not followed: they can form a ring."""
    pictures = []
    for where, folders, names in os.walk(folder, onerror=_refuse):
        shown = [name for name in folders if not name.startswith(".")]
        left_out.others["hidden name"] += len(folders) - len(shown)
        left_out.others["linked folder"] += sum(os.path.islink(os.path.join(where, name)) for name in shown)
        folders[:] = shown
        for name in names:
            if name.startswith("."):
                left_out.others["hidden name"] += 1
            elif not is_picture(name):
                left_out.suffixes[os.path.splitext(name)[1].lower() or "without a suffix"] += 1
            elif not os.path.isfile(path := os.path.join(where, name)):
                left_out.others["broken link"] += 1
            else:
                pictures.append(path)
    left_out.others = +left_out.others  # without those that are 0
    return list(map(Path, sorted(pictures)))


def _refuse(error: OSError) -> None:
    raise error

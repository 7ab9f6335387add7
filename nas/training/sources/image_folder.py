"""``image_folder``: one's own pictures, of any size and number, in folders of classes.

They are in ``train/<class>/`` and ``test/<class>/``, or ``val/``, which is the holdout where there are both. Where
there is no ``test/`` or ``val/``, or the folder has the classes themselves, parts are cut (`splits`). Pictures in
folders of a class's folder belong to the class.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas.training.sources.album import Album, album_of
from nas.training.sources.albums import source_of
from nas.training.sources.folders import listed
from nas.training.sources.index import Index
from nas.training.sources.indexing import Entry, Listing
from nas.training.sources.parts import by_part
from nas.training.sources.wanted import DataError, Wanted

__all__ = ["SOURCE", "album"]


@dataclass(frozen=True)
class _Files:
    """Pictures in files of their own.

    Attributes:
        folders: of the groups, in their order.
    """

    folders: tuple[Path, ...]

    def open(self, index: Index, place: int) -> Path:
        return self.folders[index.rows["group"][place]] / index.name(place)

    def name(self, index: Index, place: int) -> str:
        return str(self.open(index, place))


def album(wanted: Wanted) -> Album:
    """The pictures in the folder `wanted.path`.

    Raises:
        DataError: it has none, or a class for tests only.
    """
    folder = wanted.given_path()
    groups = _groups(folder)
    return album_of("image_folder", folder, partial(_listing, folder, groups), _Files(tuple(groups.values())))


def _groups(folder: Path) -> dict[str, Path]:
    """The folders of classes, by the part that they are for."""
    there = [each.name for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []
    found = {part: folder / name for part, name in by_part(there, folder).items()}
    if "train" not in found and (found or not there):
        raise DataError(
            f"{folder} must have train/ and test/ (or val/) with one folder of images a class, or train/ alone, or the "
            "folders of the classes"
        )
    return found or {"train": folder}


def _listing(folder: Path, groups: Mapping[str, Path]) -> Listing:
    listing = Listing(what=str(folder), entries=(), groups=list(groups))
    listing.entries = _entries(groups, listing)
    return listing


def _entries(groups: Mapping[str, Path], listing: Listing) -> Iterator[Entry]:
    labels: dict[str, int] = {}
    for number, folder in enumerate(groups.values()):
        for class_name, names in listed(folder, listing.notes):
            if number == 0:
                labels[class_name] = len(labels)
                listing.class_names.append(class_name)
            elif class_name not in labels:
                raise DataError(f"{folder} has the class {class_name!r}, which {groups['train']} lacks")
            for name in names:
                at = os.stat(f"{folder}/{name}")
                yield Entry(number, labels[class_name], name, at.st_size, at.st_mtime_ns)


SOURCE = source_of(album)

"""``huggingface``: data sets of the package `datasets`, by a folder of ``save_to_disk``, files of tables, or a name.

A column of pictures and one of classes are needed (features `Image` and `ClassLabel`; or a column ``label``). Where
parts are cut, a picture is drawn by the path of its file, or, where the table holds it, by what is in it: whatever
rows there are besides.
"""

import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nas.training.sources.album import Album, album_of
from nas.training.sources.albums import source_of
from nas.training.sources.index import Index
from nas.training.sources.indexing import Entry, Listing
from nas.training.sources.parts import by_part
from nas.training.sources.wanted import DataError, Wanted
from nas_runtime.console import brief

__all__ = ["SOURCE", "album"]


_KINDS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json"}
"""Files of tables."""


@dataclass(frozen=True)
class _Table:
    """A part of the data set.

    Attributes:
        pictures: rows whose column `picture` holds files.
        labels: of rows, in a column of its own.
        class_names: by label; None: labels are their own names.
        stamp: equal for as long as the table is the same; empty: some pictures are files of their own.
    """

    pictures: Any
    picture: str
    labels: Any
    class_names: tuple[str, ...] | None
    stamp: str


@dataclass(frozen=True)
class _InTables:
    """Pictures in the rows of tables, which are opened where they are needed."""

    path: Path
    download: bool

    def open(self, index: Index, place: int) -> Path | io.BytesIO:
        row = index.rows[place]
        table = _tables(self.path, self.download)[index.about.groups[int(row["group"])]]
        file = table.pictures[int(row["offset"])][table.picture]
        return Path(file["path"]) if file["bytes"] is None else io.BytesIO(file["bytes"])

    def name(self, index: Index, place: int) -> str:
        return (
            f"row {index.rows['offset'][place]} of {self.path}'s {index.about.groups[int(index.rows['group'][place])]}"
        )


def album(wanted: Wanted) -> Album:
    """The pictures in the data set that `wanted.path` names.

    Raises:
        DataError: it cannot be read, or has no pictures with classes.
    """
    if wanted.path is None:
        raise DataError("data set 'huggingface' needs dataset.path=..., a folder or file of tables, or a name")
    return album_of(
        "huggingface",
        wanted.path,
        partial(_listing, wanted.path, wanted.download),
        _InTables(wanted.path, wanted.download),
    )


def _package() -> Any:
    """The package datasets, whose types are not looked at: it need not be installed."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise DataError(
            f"data set 'huggingface' needs the package datasets ({e}); pip install 'platform-aware-nas[huggingface]'"
        ) from None
    return datasets


@lru_cache(maxsize=2)
def _tables(path: Path, download: bool) -> dict[str, _Table]:
    datasets = _package()
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            found = datasets.load_from_disk(str(path))
        else:
            offline = datasets.DownloadConfig(local_files_only=not download)
            kind = _KINDS.get(path.suffix) if path.is_file() else None
            files: dict[str, Any] = {"path": kind, "data_files": str(path)} if kind else {"path": str(path)}
            found = datasets.load_dataset(**files, download_config=offline)
    except Exception as e:  # of a dozen packages
        hint = "" if download or path.exists() else "; dataset.download=true fetches it"
        raise DataError(f"dataset.path={path}: datasets cannot read it ({brief(e, most=300)}){hint}") from None
    finally:
        if shown:
            datasets.enable_progress_bars()
    splits: dict[str, Any] = {"train": found}
    if isinstance(found, datasets.DatasetDict):
        splits = {str(name): rows for name, rows in found.items()}
    parts = by_part(splits, path) if len(splits) > 1 else {"train": next(iter(splits))}
    if "train" not in parts:
        raise DataError(f"dataset.path={path}: it has {', '.join(splits)}, and no train")
    return {part: _table(splits[name], path) for part, name in parts.items()}


def _table(rows: Any, path: Path) -> _Table:
    datasets = _package()
    kinds: Mapping[str, Any] = rows.features
    picture = next((name for name, kind in kinds.items() if isinstance(kind, datasets.Image)), None)
    label = next((name for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)), None)
    label = label or ("label" if "label" in kinds else None)
    if picture is None or label is None:
        lacks = "of pictures (Image)" if picture is None else "of classes (ClassLabel, or named label)"
        raise DataError(f"dataset.path={path}: none of its columns is {lacks}; it has {', '.join(kinds)}")
    files = rows.select_columns([picture]).cast_column(picture, datasets.Image(decode=False))
    class_names = kinds[label].names if isinstance(kinds[label], datasets.ClassLabel) else None
    names = None if class_names is None else tuple(class_names)
    outside = any(chunk.field("bytes").null_count for chunk in files.data.column(picture).chunks)
    return _Table(files, picture, rows.select_columns([label]), names, "" if outside else rows._fingerprint)


def _listing(path: Path, download: bool) -> Listing:
    tables = _tables(path, download)
    names = tables["train"].class_names
    listing = Listing(
        what=str(path),
        entries=(),
        groups=list(tables),
        class_names=list(names or ()),
        sort=names is None,
        stamp=repr([table.stamp for table in tables.values()]) if all(t.stamp for t in tables.values()) else "",
    )
    listing.entries = _entries(path, tables, listing)
    return listing


def _entries(path: Path, tables: Mapping[str, _Table], listing: Listing) -> Iterator[Entry]:
    labels = {name: label for label, name in enumerate(listing.class_names)}
    count = without = 0
    folder = os.path.join((path if path.is_dir() else path.parent).absolute(), "")
    for group, (part, table) in enumerate(tables.items()):
        for row, (picture, its) in enumerate(zip(table.pictures, table.labels, strict=True)):
            file, label = picture[table.picture], next(iter(its.values()))
            if label is None or file is None or (table.class_names is not None and label < 0):
                without += 1
                continue
            name = str(label) if table.class_names is None else table.class_names[label]
            if name not in labels:
                if group:
                    raise DataError(f"{listing.what}: {part} has the class {name!r}, which train lacks")
                labels[name] = len(labels)
                listing.class_names.append(name)
            count += 1
            yield Entry(group, labels[name], *_looks(file, folder), 0, row)
    if not count:
        raise DataError(f"{listing.what} has no pictures with a class")
    if without:
        listing.notes.append(f"{listing.what}: left out {without:,} rows without a picture or a class")


def _looks(file: Mapping[str, Any], folder: str) -> tuple[str, int, int]:
    """The name of a picture, whatever its row, and size and time of its file.

    Args:
        folder: what paths are relative to, if they are in it.
    """
    if (content := file["bytes"]) is not None:
        return blake2b(content, digest_size=16).hexdigest(), len(content), 0
    its = str(file["path"])
    try:
        at = os.stat(its)
    except OSError:  # said when it is opened
        return its, 0, 0
    return its.removeprefix(folder), at.st_size, at.st_mtime_ns


SOURCE = source_of(album, downloads=True)

"""Making an index of pictures: what a listing gives, and what a look into those that are new or changed tells."""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from latency_luts.progress import bars
from nas.training.sources.images import look_at
from nas.training.sources.index import AT_ONCE, ROW, About, Index, opened, written
from nas.training.sources.wanted import DataError

__all__ = ["Entry", "Listing", "Opener", "build", "without"]

_FEW, _ONE_IN = 3, 20
"""So many pictures may be unreadable, or one in so many, before it is an error."""
_NAMED = 5
_SHOWN_FROM, _LISTED_FROM = 1000, 100_000
"""Pictures to be opened, and listed, from which a bar shows how far it is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture as a listing gives it.

    Attributes:
        group: which of the listing's groups it is in.
        name: its own in its group; what it is drawn by where parts are cut.
        bytes, time: of its file: others where it was changed.
        file, offset: of an archive, and in it.
    """

    group: int
    label: int
    name: str
    bytes: int
    time: int
    file: int = 0
    offset: int = 0


@dataclass(kw_only=True)
class Listing:
    """What there is to be indexed.

    Attributes:
        what: is indexed, for messages: a folder.
        entries: always in the same order; walked once.
        groups: what the pictures are divided into: ``train``, ``test``.
        class_names, files, notes: as in `About`; complete when all entries were walked.
        sort: classes are counted as they come, and are to be in the order of their names, or of the numbers that these
            are.
        stamp: as in `About`.
    """

    what: str
    entries: Iterable[Entry]
    groups: Sequence[str]
    class_names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sort: bool = False
    stamp: str = ""


class Opener(Protocol):
    """Where the pictures of an index are. Can be pickled, for workers."""

    def open(self, index: Index, place: int) -> Path | BinaryIO:
        """The file of the picture at `place`, or what is in it."""
        ...

    def name(self, index: Index, place: int) -> str:
        """What to call that picture in messages."""
        ...


def build(path: Path, listing: Listing, opener: Opener) -> Index:
    """The index of what is listed, in the file `path`. What that file knows of pictures that are unchanged is kept.

    Raises:
        DataError: too many pictures cannot be read.
    """
    before = opened(path)
    if before is not None and listing.stamp and before.about.stamp == listing.stamp:
        return before

    def fill(rows: BinaryIO, names: BinaryIO) -> About:
        end, entries = 0, iter(listing.entries)
        expected = 0 if before is None else len(before)
        with bars(expected >= _LISTED_FROM) as bar:
            bar("listing pictures", expected)
            while some := list(itertools.islice(entries, AT_ONCE)):
                end = _write(some, end, rows, names)
                bar("", len(some))
        return About(
            groups=listing.groups,
            class_names=_class_names(listing),
            files=listing.files,
            notes=listing.notes,
            stamp=listing.stamp,
        )

    def then(index: Index) -> Sequence[str]:
        _relabel(index, listing)
        if before is not None and len(before):
            _remember(index, before)
        return _left_out(index, opener, listing.what, _look_into(index, opener))

    return written(path, fill, then)


def without(path: Path, index: Index, opener: Opener, what: str, bad: Mapping[int, str]) -> Index:
    """`index` with pictures that turned out to be unreadable marked as such: their places, and why.

    Raises:
        DataError: they are too many.
    """

    def fill(rows: BinaryIO, names: BinaryIO) -> About:
        for start in range(0, len(index), AT_ONCE):
            rows.write(index.rows[start : start + AT_ONCE].tobytes())
        names.write(np.ascontiguousarray(index.names).data)
        return index.about

    def then(draft: Index) -> Sequence[str]:
        draft.rows["readable"][list(bad)] = False
        return _left_out(draft, opener, what, bad)

    return written(path, fill, then)


def _write(some: Sequence[Entry], end: int, rows: BinaryIO, names: BinaryIO) -> int:
    """Writes entries whose names begin at `end`; gives where they end."""
    encoded = [os.fsencode(entry.name) for entry in some]
    values = np.zeros(len(some), ROW)
    values["end"] = end + np.cumsum([len(name) for name in encoded])
    values["hash"] = [int.from_bytes(blake2b(name, digest_size=8).digest(), "little") for name in encoded]
    for field_name in ("group", "label", "bytes", "time", "file", "offset"):
        values[field_name] = [getattr(entry, field_name) for entry in some]
    rows.write(values.tobytes())
    names.write(b"".join(encoded))
    return int(values["end"][-1])


def _class_names(listing: Listing) -> list[str]:
    """The names of classes in the order of their labels."""
    if not listing.sort:
        return listing.class_names
    return sorted(listing.class_names, key=int if all(name.isdecimal() for name in listing.class_names) else None)


def _relabel(index: Index, listing: Listing) -> None:
    """Gives labels the order of `_class_names`."""
    names = _class_names(listing)
    if names != listing.class_names:
        order = {name: label for label, name in enumerate(names)}
        index.rows["label"] = np.array([order[name] for name in listing.class_names])[index.rows["label"]]


def _remember(index: Index, before: Index) -> None:
    """Takes over what is known of pictures that have the same name, size and time."""
    keys = order = np.zeros(0, np.uint64)
    for start in range(0, len(index), AT_ONCE):
        rows = index.rows[start : start + AT_ONCE]
        its = before.rows[start : start + len(rows)]
        if len(its) < len(rows) or not _alike(rows, its).all():  # some moved: they are looked up
            if not len(order):
                keys = _keys(before.rows)
                order = np.argsort(keys)
            its = before.rows[order[np.searchsorted(keys, _keys(rows), sorter=order).clip(max=len(before) - 1)]]
        alike = _alike(rows, its)
        for name in ("width", "height", "readable"):
            rows[name][alike] = its[name][alike]


def _alike(rows: np.ndarray, its: np.ndarray) -> np.ndarray:
    return np.logical_and.reduce([rows[name] == its[name] for name in ("hash", "group", "bytes", "time", "offset")])


def _keys(rows: np.ndarray) -> np.ndarray:
    """Of name and group."""
    return rows["hash"] + rows["group"] * np.uint64(0x9E3779B97F4A7C15)


def _look_into(index: Index, opener: Opener) -> dict[int, str]:
    """Opens those of which nothing is known, or that could not be read. Gives the reasons of those that cannot be."""
    todo = np.flatnonzero(~index.rows["readable"])
    reasons: dict[int, str] = {}

    def look(place: int) -> tuple[int, int, str]:
        thorough = bool(index.rows["width"][place])  # it looked well before, but its pixels could not be read
        try:
            return *look_at(opener.open(index, place), opener.name(index, place), thorough=thorough), ""
        except DataError as e:
            return 0, 0, str(e)

    workers = min(16, 4 * (os.cpu_count() or 1))  # they wait for the disk more than they compute
    with bars(len(todo) >= _SHOWN_FROM) as bar, ThreadPoolExecutor(workers) as pool:
        bar("looking into pictures", len(todo))
        for start in range(0, len(todo), AT_ONCE // 16):
            some = todo[start : start + AT_ONCE // 16].tolist()
            for place, (width, height, reason) in zip(some, pool.map(look, some), strict=True):
                row = index.rows[place : place + 1]
                row["readable"] = not reason
                if reason:
                    reasons[place] = reason
                else:
                    row["width"], row["height"] = width, height
            bar("", len(some))
    return reasons


def _left_out(index: Index, opener: Opener, what: str, reasons: Mapping[int, str]) -> list[str]:
    """What is said of pictures that cannot be read.

    Raises:
        DataError: they are too many.
    """
    if not reasons:
        return []
    first, *others = sorted(reasons)
    named = ", ".join(opener.name(index, place) for place in others[:_NAMED]) + ", ..." * (len(others) > _NAMED)
    said = reasons[first] + (f"; nor are {len(others)} more: {named}" if others else "")
    if len(reasons) > max(_FEW, len(index) / _ONE_IN):
        raise DataError(
            f"{what}: {len(reasons):,} of {len(index):,} images cannot be read, more than 1 in {_ONE_IN}: {said}"
        )
    return [f"{what}: left out {len(reasons):,} of {len(index):,} images, which cannot be read: {said}"]

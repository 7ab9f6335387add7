"""Data sets of many pictures, whatever they are in: an index of them, and a way to open them.

An `Album` can be pickled for workers: elsewhere the index is opened again, or made if it is not there.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.training.datasets import Preprocessing, drawn_places, statistics_of
from nas.training.sources import kept, splits
from nas.training.sources.cache import cache_dir
from nas.training.sources.images import decode, shrunk, shrunk_sides
from nas.training.sources.index import AT_ONCE, Index, opened
from nas.training.sources.indexing import Listing, Opener, build, without
from nas.training.sources.kept import Store
from nas.training.sources.wanted import DataError, Wanted
from nas_runtime.files import FileError, only_writer

__all__ = ["Album", "Part", "album_of"]

_LOOKED_AT = 1000
"""Training pictures that mean and deviation are of."""


@dataclass(frozen=True)
class Album:
    """Pictures with their index.

    Attributes:
        folder: where the index is, and what is made of the pictures.
        listing: lists the pictures again.
    """

    folder: Path
    listing: Callable[[], Listing]
    opener: Opener
    index: Index

    def __reduce__(self) -> Any:
        bad = np.flatnonzero(~self.index.rows["readable"]).astype("<u4").tobytes()
        return _again, (self.folder, self.listing, self.opener, self.index.about.content, bad)

    def square(self, place: int, px: int, resize_px: int) -> np.ndarray:
        """The picture at `place` as evaluations see it, see `images.decode`."""
        return decode(self.opener.open(self.index, place), self.name(place), px, resize_px=resize_px)

    def shrunk(self, place: int, px: int) -> np.ndarray:
        """The whole picture at `place`, see `images.shrunk`."""
        return shrunk(self.opener.open(self.index, place), self.name(place), px)

    def name(self, place: int) -> str:
        return self.opener.name(self.index, place)

    def without(self, bad: dict[int, str]) -> "Album":
        """This album, but for pictures that cannot be read.

        Raises:
            DataError: they are too many.
        """
        with _alone(self.folder):
            index = without(self.folder / "index", self.index, self.opener, self.listing().what, bad)
        return replace(self, index=index)

    def key(self, *of: object) -> str:
        """Of what is made of these pictures."""
        return hashlib.sha256(repr((self.index.about.state, of)).encode()).hexdigest()[:16]

    def identity(self, wanted: Wanted) -> str:
        """Stands for the pictures and their parts in records: another when a picture was written again, equal for a
        copy of the files that keeps their times."""
        of = (self.index.about.state, wanted.holdout, wanted.test, wanted.train_images)
        return hashlib.sha256(repr(of).encode()).hexdigest()

    def part(self, wanted: Wanted, name: str) -> np.ndarray:
        """The places of the pictures in a part, and their labels: (2, n) int64, mapped.

        Raises:
            DataError: the parts cannot be as they are wanted.
        """
        path, key = self.folder / f"{name}-places", self.key(wanted.holdout, wanted.test, wanted.train_images)
        if (known := kept.mapped(path, key, np.int64)) is not None:
            return known
        places = splits.divided(self.index, wanted)[name]
        labels = self.index.rows["label"][places]
        return kept.array(path, key, (2, len(places)), np.int64, lambda: (places, labels))


def album_of(kind: str, source: Path, listing: Callable[[], Listing], opener: Opener) -> Album:
    """The pictures in the file or folder `source`, looked at anew.

    Raises:
        DataError: there are none, or too many cannot be read.
    """
    folder = cache_dir() / f"{kind}-{hashlib.sha256(str(source.resolve()).encode(errors='replace')).hexdigest()[:16]}"
    with _alone(folder):
        return Album(folder, listing, opener, build(folder / "index", listing(), opener))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Inside, no other process makes an index in `folder`, if that can be written; waits until it is so."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(only_writer(folder, "an index"))
            except FileError:
                time.sleep(0.05)
                continue
            except OSError:
                pass
            break
        yield


def _again(folder: Path, listing: Callable[[], Listing], opener: Opener, content: str, bad: bytes) -> Album:
    """
    Args:
        bad: the places (n,) uint32 of pictures that are known to be unreadable, as bytes.
    """
    index = opened(folder / "index")
    if index is None or index.about.content != content:
        with _alone(folder):  # of many processes that start at once, the first makes it
            index = opened(folder / "index")
            if index is None or index.about.content != content:
                index = build(folder / "index", listing(), opener)
                index = _marked(index, folder, listing, opener, np.frombuffer(bad, "<u4"))
    if index.about.content != content:
        raise DataError(f"{listing().what}: images were added, removed or changed while they were in use; run it again")
    return Album(folder, listing, opener, index)


def _marked(index: Index, folder: Path, listing: Callable[[], Listing], opener: Opener, bad: np.ndarray) -> Index:
    """`index` without the pictures at the places `bad`, which look well and turned out elsewhere to be unreadable."""
    known = index.rows["readable"]
    found = [int(place) for place in bad if place < len(index) and known[place]]
    if not found:
        return index
    reasons = {place: f"{opener.name(index, place)} is not a readable image" for place in found}
    return without(folder / "index", index, opener, listing().what, reasons)


class Part:
    """The pictures of one part of an album, as `nas.training.pictures.Pictures`.

    What is kept of them decoded is taken from there; it is the same as what decoding gives. Squares of pictures for
    training are not kept, since recipes for full size do not look at them, and are not made of what `read` gives, which
    may be smaller than the picture or on white: that would give other pixels.
    """

    def __init__(self, album: Album, wanted: Wanted, name: str, px: int, resize_px: int) -> None:
        """
        Args:
            wanted: how the album is divided.
            name: of the part.
            px, resize_px: of the squares that evaluations see, and whose pictures are kept.
        """
        self._made_of = (album, wanted, name, px, resize_px)
        self._album, self._px, self._resize_px = album, px, resize_px
        self._places, self._labels = album.part(wanted, name)
        self._shape = (len(self._labels), px, px, 3)
        self._key = album.key(hashlib.sha256(self._places.data).digest())
        self._whole = album.folder / f"{name}-{px}px"
        self._square = album.folder / f"{name}-squares-{px}px-of-{resize_px}"
        self._store = Store.opened(self._whole, self._key)
        self._squares = kept.mapped(self._square, self._key, np.uint8)

    def __reduce__(self) -> Any:
        return Part, self._made_of

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, place: int, px: int) -> np.ndarray:
        if self._store is not None and px == self._px:
            return self._store.read(place)
        return self._album.shrunk(int(self._places[place]), px)

    def square(self, place: int, rule: Preprocessing) -> np.ndarray:
        if self._squares is not None and (rule.resolution_px, rule.resize_px) == (self._px, self._resize_px):
            return self._squares[place]
        return self._album.square(int(self._places[place]), rule.resolution_px, rule.resize_px)

    def name(self, place: int) -> str:
        return self._album.name(int(self._places[place]))

    @property
    def kept(self) -> tuple[bool, bool]:
        """Whether what `read` gives is kept, and whether squares are."""
        return self._store is not None, self._squares is not None

    def squares(self) -> np.ndarray:
        """All of them as squares (N, px, px, 3) uint8, kept and mapped.

        Raises:
            kept.UnreadableError: some cannot be decoded.
            DataError: there is no room for them.
        """
        if self._squares is None:
            self._squares = kept.array(self._square, self._key, self._shape, np.uint8, self._decoded)
        return self._squares

    def keep_squares(self) -> bool:
        """Keeps what `square` gives; gives whether it is kept.

        Raises:
            kept.UnreadableError: some cannot be decoded.
        """
        if self._squares is None:
            self._squares = kept.written(self._square, self._key, self._shape, np.uint8, self._decoded)
        return self._squares is not None

    def _decoded(self) -> Iterator[np.ndarray]:
        px, resize_px = self._px, self._resize_px
        return kept.each(self._places, lambda place: self._album.square(place, px, resize_px), "decoding")

    @property
    def square_bytes(self) -> int:
        """What all squares take."""
        return math.prod(self._shape)

    def keep(self) -> bool:
        """Keeps what `read` gives; gives whether it is kept.

        Raises:
            kept.UnreadableError: some cannot be decoded.
        """
        if self._store is None:
            self._store = Store.made(
                self._whole,
                self._key,
                self.whole_bytes,
                lambda: kept.each(self._places, lambda place: self._album.shrunk(place, self._px), "decoding"),
            )
        return self._store is not None

    @property
    def whole_bytes(self) -> int:
        """What all take as `read` gives them."""
        total = 0
        for start in range(0, len(self), AT_ONCE):
            rows = self._album.index.rows[self._places[start : start + AT_ONCE]]
            total += int(shrunk_sides(np.array([rows["width"], rows["height"]], np.int64), self._px).prod(0).sum())
        return 3 * total

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each channel in [0, 1], of up to 1,000 of the pictures, always the same ones.

        Raises:
            kept.UnreadableError: some cannot be decoded.
        """

        def look() -> list[np.ndarray]:
            places = self._places[drawn_places(len(self), _LOOKED_AT, rng_seed=2)]
            images = kept.each(places, lambda place: self._album.shrunk(place, self._px), "looking at colours")
            return [np.array(statistics_of(images))]

        mean, std = kept.array(self._album.folder / f"statistics-{self._px}px", self._key, (2, 3), np.float64, look)
        return tuple(mean.tolist()), tuple(std.tolist())

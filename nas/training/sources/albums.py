"""A data set of many pictures by its album: facts, arrays of small squares, and pictures for trainings at full size."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from nas.training.datasets import Dataset, Split, absent_classes, make
from nas.training.pictures import PictureSet
from nas.training.sources import splits
from nas.training.sources.album import Album, Part
from nas.training.sources.kept import UnreadableError, free_bytes
from nas.training.sources.wanted import DataFacts, Source, Wanted

__all__ = ["source_of"]

_DEFAULT_PX = 64
_MOST_KEPT = 8 * 10**9
"""Bytes of decoded pictures of one data set and size that are kept, if they are no more than half of what is free."""
_PARTS = ("train", "holdout", "test")

T = TypeVar("T")


def source_of(album: Callable[[Wanted], Album], *, downloads: bool = False) -> Source:
    """The data set whose pictures `album` gives.

    Args:
        downloads: whether it can be fetched.
    """
    return Source(
        look=lambda wanted: _facts(album(wanted), wanted),
        load=lambda wanted: _with_readable(album(wanted), lambda its: _arrays(its, wanted)),
        pictures=lambda wanted: _with_readable(album(wanted), lambda its: _pictures(its, wanted)),
        downloads=downloads,
        cuts_test=True,
    )


def _with_readable(album: Album, work: Callable[[Album], T]) -> T:
    """`work`, without the pictures that turn out to be unreadable while it works.

    Raises:
        DataError: they are too many.
    """
    while True:
        try:
            return work(album)
        except UnreadableError as e:
            album = album.without(e.bad)


def _facts(album: Album, wanted: Wanted) -> DataFacts:
    names = tuple(album.index.about.class_names)
    images = {part: np.bincount(album.part(wanted, part)[1], minlength=len(names)) for part in _PARTS}
    held, test = (int(images[part].sum()) for part in _PARTS[1:])
    train = int(images["train"].sum())
    return DataFacts(
        name=wanted.name,
        resolution_px=wanted.resolution_px or _DEFAULT_PX,
        channels=3,
        class_names=names,
        train_images=train,
        holdout_images=held,
        test_images=test,
        resize="shorter_side",
        split=splits.describe(album.index, wanted),
        notes=(*album.index.about.notes, *absent_classes(wanted.name, images, names)),
    )


def _arrays(album: Album, wanted: Wanted) -> Dataset:
    facts = _facts(album, wanted)
    px = facts.resolution_px
    train, holdout, test = (
        Split(part.squares(), part.labels) for part in (Part(album, wanted, name, px, px) for name in _PARTS)
    )
    data = make(
        wanted.name,
        train=train,
        holdout=holdout,
        test=test,
        classes=facts.classes,
        class_names=facts.class_names,
        resize="shorter_side",
    )
    return data.noted(facts.notes)


def _pictures(album: Album, wanted: Wanted) -> PictureSet:
    facts = _facts(album, wanted)
    px, resize_px = facts.resolution_px, round(facts.resolution_px / wanted.crop)
    train, holdout, test = (Part(album, wanted, name, px, resize_px) for name in _PARTS)
    mean, std = train.statistics()
    not_kept = _keep(album, train, (holdout, test))
    return PictureSet(
        name=wanted.name,
        class_names=facts.class_names,
        train=train,
        holdout=holdout,
        test=test,
        resolution_px=px,
        channels=3,
        resize="shorter_side",
        mean=mean,
        std=std,
        identity=album.identity(wanted),
        crop=wanted.crop,
        notes=(*facts.notes, *not_kept),
        split=facts.split,
        kept=_kept(album, train, (holdout, test)),
    )


def _keep(album: Album, train: Part, others: Sequence[Part]) -> tuple[str, ...]:
    """Keeps decoded pictures where there is room for them; what is to be said if not.

    Raises:
        UnreadableError: some cannot be decoded.
    """
    lacking = sum(part.square_bytes for part in others if not part.kept[1]) + (not train.kept[0]) * train.whole_bytes
    if not lacking:
        return ()
    if lacking + _kept_bytes(train, others) > _MOST_KEPT or lacking > free_bytes(album.folder) / 2:
        why = f"{_amount(lacking)} are too much to keep"
    elif train.keep() and all(part.keep_squares() for part in others):
        return ()
    else:
        why = f"{album.folder} has no room for them"
    whose = "pictures of the holdout and the test" if train.kept[0] else "pictures"
    return (f"{whose} are decoded each time that they are needed: {why}",)


def _kept_bytes(train: Part, others: Sequence[Part]) -> int:
    return train.kept[0] * train.whole_bytes + sum(part.kept[1] * part.square_bytes for part in others)


def _kept(album: Album, train: Part, others: Sequence[Part]) -> str:
    """What is kept, in words."""
    size = _kept_bytes(train, others)
    return f"decoded pictures take {_amount(size)} in {album.folder}, which can be removed" if size else ""


def _amount(size: int) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"

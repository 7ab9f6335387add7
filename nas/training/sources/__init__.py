"""Data sets by name: where their files are, and how they become a `Dataset`.

Nothing is downloaded unless asked for. What takes long to read (thousands of image files) is kept as one array file in
the user's cache folder.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nas.training.datasets import Dataset, Resize, Split, cut_holdout, make
from nas.training.sources import cifar10, fashion_mnist, image_folder
from nas.training.sources.cache import cache_dir
from nas.training.sources.wanted import DataError, DataFacts, Wanted

__all__ = ["DataError", "DataFacts", "cache_dir", "load", "look", "names"]

_PX = (8, 4096)  # of images, at least and at most


@dataclass(frozen=True, kw_only=True)
class _Source:
    """How a data set is looked at and read, with all its training images and in its own size.

    Attributes:
        downloads: whether it can be fetched.
    """

    look: Callable[[Wanted], DataFacts]
    load: Callable[[Wanted], Dataset]
    downloads: bool = False


_SOURCES = {
    "fashion_mnist_mini": _Source(look=fashion_mnist.look_mini, load=fashion_mnist.load_mini),
    "fashion_mnist": _Source(look=fashion_mnist.look, load=fashion_mnist.load, downloads=True),
    "cifar10": _Source(look=cifar10.look, load=cifar10.load, downloads=True),
    "image_folder": _Source(look=image_folder.look, load=image_folder.load),
}


def names() -> tuple[str, ...]:
    return tuple(_SOURCES)


def look(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    train_images: int | None = None,
    holdout_images: int | None = None,
    resolution_px: int | None = None,
    download: bool = False,
) -> DataFacts:
    """What `load` would give, as far as it is known without reading or fetching images: takes a moment.

    Args:
        path, train_images, holdout_images, resolution_px, download: as in `load`.

    Raises:
        DataError: the data set is not there, or an option cannot be.
    """
    return _look(_wanted(name, path, train_images, holdout_images, resolution_px, download))


def load(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    train_images: int | None = None,
    holdout_images: int | None = None,
    resolution_px: int | None = None,
    download: bool = False,
) -> Dataset:
    """The data set `name`.

    Args:
        path: its file or folder; not for ``fashion_mnist_mini``, which is part of the package.
        train_images: train on this many images only, drawn at random; None: all.
        holdout_images: size of the holdout, cut from the training images; None: the data set's own default.
        resolution_px: images are resized to it; None: as they are (``image_folder``: 64).
        download: fetch ``fashion_mnist`` or ``cifar10`` to the folder `path` if it is not there.

    Raises:
        DataError: what is wrong with the files, and what is expected.
    """
    wanted = _wanted(name, path, train_images, holdout_images, resolution_px, download)
    _look(wanted)  # what cannot be is refused before anything is read
    data = _SOURCES[name].load(wanted)
    data = data if train_images is None else _fewer(data, train_images)
    return data if resolution_px is None else _resized(data, resolution_px)


def _wanted(
    name: str,
    path: str | os.PathLike[str] | None,
    train_images: int | None,
    holdout_images: int | None,
    resolution_px: int | None,
    download: bool,
) -> Wanted:
    if name not in names():
        raise DataError(f"no data set {name!r}; there are: {', '.join(names())}")
    if download and not _SOURCES[name].downloads:
        can = " and ".join(name for name, source in _SOURCES.items() if source.downloads)
        raise DataError(f"dataset.download=true: {can} can be downloaded, {name} cannot")
    if path is not None and not isinstance(path, str | os.PathLike):
        raise DataError(f"dataset.path={path!r}: it must be a path")
    counts = {"train_images": train_images, "holdout_images": holdout_images, "resolution_px": resolution_px}
    for option, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
            raise DataError(f"dataset.{option}={value!r}: it must be a whole number, at least 1")
    if resolution_px is not None and not _PX[0] <= resolution_px <= _PX[1]:
        raise DataError(f"dataset.resolution_px={resolution_px}: allowed are {_PX[0]} to {_PX[1]}")
    return Wanted(
        name=name,
        path=None if path is None else Path(path),
        train_images=train_images,
        holdout_images=holdout_images,
        resolution_px=resolution_px,
        download=download,
    )


def _look(wanted: Wanted) -> DataFacts:
    facts = _SOURCES[wanted.name].look(wanted)
    n, px = wanted.train_images, wanted.resolution_px
    if n is not None:
        _check_train_images(n, facts.train_images, wanted.name)
        facts = replace(facts, train_images=n)
    if px is not None and px != facts.resolution_px:
        facts = replace(facts, resolution_px=px, resize="stretch")
    return facts


def _check_train_images(n: int, available: int, name: str) -> None:
    if not 0 < n <= available:
        raise DataError(f"dataset.train_images={n}: allowed are 1 to {available}, all that {name} has")


def _fewer(data: Dataset, n: int) -> Dataset:
    _check_train_images(n, len(data.train), data.name)
    if n == len(data.train):
        return data
    _, train = cut_holdout(data.train, n, rng_seed=1)
    return _with(data, train, data.holdout, data.test, data.resize)


def _resized(data: Dataset, px: int) -> Dataset:
    if px == data.resolution_px:
        return data

    def resized(split: Split) -> Split:
        from PIL import Image

        images = np.empty((len(split), px, px, data.channels), np.uint8)
        for i, image in enumerate(split.images):
            small = Image.fromarray(image[..., 0] if data.channels == 1 else image).resize((px, px))
            images[i] = np.asarray(small).reshape(px, px, data.channels)
        return Split(images, split.labels)

    return _with(data, resized(data.train), resized(data.holdout), resized(data.test), "stretch")


def _with(data: Dataset, train: Split, holdout: Split, test: Split, resize: Resize) -> Dataset:
    """`data` with other images, checked as any are, and their mean and deviation."""
    made = make(
        data.name,
        train=train,
        holdout=holdout,
        test=test,
        classes=data.classes,
        class_names=data.class_names,
        flip=data.flip,
        resize=resize,
    )
    return made.noted(data.notes)

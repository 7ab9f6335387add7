"""Data sets by name: where their files are, and how they become a `Dataset`.

Nothing is downloaded unless asked for. What takes long (to look into thousands of files, to decode them) is kept in the
user's cache folder.
"""

import hashlib
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from nas.training.datasets import Dataset, Resize, Split, cut_holdout, make, part
from nas.training.pictures import PictureSet, of_arrays
from nas.training.sources.cache import cache_dir
from nas.training.sources.wanted import (
    DataError,
    DataFacts,
    Source,
    Wanted,
    check_train_images,
    facts_of,
    holdout_of,
)
from nas_runtime.console import brief, counted
from nas_runtime.declared import check_call
from nas_runtime.registry import Registry

__all__ = [
    "DATASETS",
    "DataError",
    "DataFacts",
    "Source",
    "Wanted",
    "cache_dir",
    "facts_of",
    "holdout_of",
    "load",
    "look",
    "names",
    "pictures",
]

_PX = (8, 4096)  # of images, at least and at most


DATASETS = Registry(
    "data set",
    "platform_aware_nas.datasets",
    {
        "fashion_mnist_mini": "nas.training.sources.fashion_mnist:MINI_SOURCE",
        "fashion_mnist": "nas.training.sources.fashion_mnist:SOURCE",
        "cifar10": "nas.training.sources.cifar10:SOURCE",
        "image_folder": "nas.training.sources.image_folder:SOURCE",
        "webdataset": "nas.training.sources.webdataset:SOURCE",
        "huggingface": "nas.training.sources.hugging_face:SOURCE",
    },
)
"""Data sets by name: a function ``load(wanted: Wanted) -> Dataset``, always the same for the same `Wanted`; or, where
reading takes long, a `Source` with a function that tells the facts before. Of what is wanted, `path` and
`holdout` (see `holdout_of`) are the function's business; fewer training images and another size are made of what
it gives. `nas.training.datasets.make` makes a `Dataset` and checks it. Of pictures of any size and number
`nas.training.sources.albums.source_of` makes a `Source`.
"""


def names() -> tuple[str, ...]:
    """Those that are shipped, and those that installed packages declare."""
    return DATASETS.names()


def look(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    train_images: int | None = None,
    holdout: float | None = None,
    test: float | None = None,
    resolution_px: int | None = None,
    download: bool = False,
) -> DataFacts:
    """What `load` would give, as far as it is known without reading or fetching images: takes a moment.

    Args:
        path, train_images, holdout, test, resolution_px, download: as in `load`.

    Raises:
        DataError: the data set is not there, or an option cannot be.
    """
    return _look(_wanted(name, path, train_images, holdout, test, resolution_px, download))


def load(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    train_images: int | None = None,
    holdout: float | None = None,
    test: float | None = None,
    resolution_px: int | None = None,
    download: bool = False,
) -> Dataset:
    """The data set `name`.

    Args:
        path: its file or folder; not for ``fashion_mnist_mini``, which is part of the package.
        train_images: train on this many images only, drawn at random; None: all.
        holdout: cut from the training images: a share below 1, or a number of images; None: the data set's own default.
        test: likewise, of a data set that has no test images of its own; None: a tenth of it.
        resolution_px: images are resized to it; None: as they are (``image_folder``: 64).
        download: fetch ``fashion_mnist`` or ``cifar10`` to the folder `path`, or ``huggingface``'s data set of the name
            `path`, if it is not there.

    Raises:
        DataError: what is wrong with the files, and what is expected.
    """
    wanted = _wanted(name, path, train_images, holdout, test, resolution_px, download)
    if not _source(name).pictures:  # which looks itself
        _look(wanted)  # what cannot be is refused before anything is read
    data = _read(wanted) if _source(name).look else _read_once(wanted)
    data = data if train_images is None else _fewer(data, train_images)
    return data if resolution_px is None else _resized(data, resolution_px)


def pictures(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    train_images: int | None = None,
    holdout: float | None = None,
    test: float | None = None,
    resolution_px: int | None = None,
    crop: float | None = None,
    download: bool = False,
) -> PictureSet:
    """The data set `name` as pictures that are read when they are needed: the same images in the same parts as `load`
    gives.

    Args:
        path, train_images, holdout, test, resolution_px, download: as in `load`.
        crop: the share of the shorter side that an evaluation looks at; None: all of it.

    Raises:
        DataError: what is wrong with the files, and what is expected.
    """
    wanted = _wanted(name, path, train_images, holdout, test, resolution_px, download)
    if crop is not None and not 0.1 <= crop <= 1:
        raise DataError(f"dataset.crop={crop!r}: allowed are 0.1 to 1")
    wanted = wanted if crop is None else replace(wanted, crop=crop)
    if made := _source(name).pictures:
        return made(wanted)
    data = load(
        name,
        path=path,
        train_images=train_images,
        holdout=holdout,
        test=test,
        resolution_px=resolution_px,
        download=download,
    )
    return of_arrays(data, _identity(data))


def _identity(data: Dataset) -> str:
    """What stands for a data set of arrays: all its labels, and a thousand images of each part."""
    digest = hashlib.sha256(repr((data.name, data.class_names)).encode())
    for split in (data.train, data.holdout, data.test):
        digest.update(split.labels.tobytes())
        digest.update(np.ascontiguousarray(part(split, 1000).images).tobytes())
    return digest.hexdigest()


def _wanted(
    name: str,
    path: str | os.PathLike[str] | None,
    train_images: int | None,
    holdout: float | None,
    test: float | None,
    resolution_px: int | None,
    download: bool,
) -> Wanted:
    if download and not _source(name).downloads:
        can = ", ".join(name for name in DATASETS.shipped if _source(name).downloads)
        raise DataError(f"dataset.download=true: {can} can be downloaded, {name} cannot")
    held, tested = _share_or_count("holdout", holdout), _share_or_count("test", test)
    if test is not None and not _source(name).cuts_test:
        raise DataError(f"dataset.test={test}: {name} has test images of its own; leave it out")
    if path is not None and not isinstance(path, str | os.PathLike):
        raise DataError(f"dataset.path={path!r}: it must be a path")
    counts = {"train_images": train_images, "resolution_px": resolution_px}
    for option, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
            raise DataError(f"dataset.{option}={value!r}: it must be a whole number, at least 1")
    if resolution_px is not None and not _PX[0] <= resolution_px <= _PX[1]:
        raise DataError(f"dataset.resolution_px={resolution_px}: allowed are {_PX[0]} to {_PX[1]}")
    return Wanted(
        name=name,
        path=None if path is None else Path(path),
        train_images=train_images,
        holdout=held,
        test=tested,
        resolution_px=resolution_px,
        download=download,
    )


def _share_or_count(option: str, value: float | None) -> float | int | None:
    if value is None or (isinstance(value, float) and 0 < value < 1):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer) or value < 1 or value != int(value):
        raise DataError(f"dataset.{option}={value!r}: it must be a share below 1, or a whole number of images")
    return int(value)


def _source(name: str) -> Source:
    try:
        found = DATASETS.get(name)
        if isinstance(found, Source):
            return found
        check_call(found, f"data set {name}", "wanted")
        return Source(load=found)
    except ValueError as e:
        raise DataError(str(e)) from e


def _read(wanted: Wanted) -> Dataset:
    """The data set as its source gives it, called what it was asked for by.

    Raises:
        DataError: the source gives something else.
    """
    data = _source(wanted.name).load(wanted)
    if not isinstance(data, Dataset):
        raise DataError(
            f"data set {wanted.name} gave {brief(repr(data))}; it must give a nas.training.datasets.Dataset"
        )
    if isinstance(wanted.holdout, int) and wanted.holdout != len(data.holdout):
        its = counted(len(data.holdout), "image")
        raise DataError(f"dataset.holdout={wanted.holdout}: the holdout of {wanted.name} has {its}")
    return data if data.name == wanted.name else replace(data, name=wanted.name)


_read_once = lru_cache(maxsize=1)(_read)
"""For a source that must read to know."""


def _look(wanted: Wanted) -> DataFacts:
    source = _source(wanted.name)
    facts = source.look(wanted) if source.look else facts_of(_read_once(wanted))
    n, px = wanted.train_images, wanted.resolution_px
    if n is not None:
        check_train_images(n, facts.train_images, wanted.name)
        facts = replace(facts, train_images=n)
    if px is not None and px != facts.resolution_px:
        facts = replace(facts, resolution_px=px, resize="stretch")
    return facts


def _fewer(data: Dataset, n: int) -> Dataset:
    check_train_images(n, len(data.train), data.name)
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
    """`data` with other images, which are checked, and with their mean and deviation."""
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

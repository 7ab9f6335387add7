"""``image_folder``: one's own pictures, in ``train/<class>/`` and ``test/<class>/`` (or ``val/``), of any size.

Pictures in folders of a class's folder belong to the class. The holdout is a tenth of the training images unless given.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.training.datasets import Dataset, Split, absent_classes, cut_holdout, make
from nas.training.pictures import PictureSet
from nas.training.sources.cache import Pictures, cached, identity
from nas.training.sources.files import FilePictures, channel_statistics
from nas.training.sources.folders import ClassFolders, scan
from nas.training.sources.images import decode_all
from nas.training.sources.wanted import DataError, DataFacts, Source, Wanted, holdout_of

__all__ = ["SOURCE", "class_folders", "load", "look", "pictures", "read"]

_DEFAULT_PX = 64


def look(wanted: Wanted) -> DataFacts:
    return _facts(wanted, class_folders(wanted.given_path()))


def load(wanted: Wanted) -> Dataset:
    path = wanted.given_path()
    folders = class_folders(path)
    facts = _facts(wanted, folders)
    files = [file for part in folders.values() for files in part.files.values() for file in files]
    px = facts.resolution_px
    pictures = cached(path, f"image_folder-{px}px", files, lambda: read(folders, px))
    train, holdout = cut_holdout(pictures.train, facts.holdout_images, rng_seed=0, reuse=True)
    data = make(
        wanted.name,
        train=train,
        holdout=holdout,
        test=pictures.test,
        classes=facts.classes,
        class_names=facts.class_names,
        resize="shorter_side",
    )
    return data.noted(facts.notes)


def pictures(wanted: Wanted) -> PictureSet:
    folders = class_folders(wanted.given_path())
    facts = _facts(wanted, folders)
    both, test = (_files(own, facts.class_names) for own in folders.values())
    places = Split(np.arange(len(both)), both.labels)
    train, holdout = cut_holdout(places, facts.holdout_images, rng_seed=0)
    if wanted.train_images not in (None, len(train)):
        train = cut_holdout(train, wanted.train_images, rng_seed=1)[1]
    mean, std = channel_statistics(both.chosen(train.images), facts.resolution_px)
    return PictureSet(
        name=wanted.name,
        class_names=facts.class_names,
        train=both.chosen(train.images),
        holdout=both.chosen(holdout.images),
        test=test,
        resolution_px=facts.resolution_px,
        channels=3,
        resize="shorter_side",
        mean=mean,
        std=std,
        identity=identity(file for part in (both, test) for file in part.files).hex(),
        crop=wanted.crop,
        notes=facts.notes,
    )


def _files(own: ClassFolders, classes: Sequence[str]) -> FilePictures:
    files = [file for name in classes for file in own.files.get(name, ())]
    labels = np.repeat(np.arange(len(classes)), [len(own.files.get(name, ())) for name in classes])
    return FilePictures(files, labels.astype(np.int64))


def class_folders(folder: Path) -> dict[str, ClassFolders]:
    """The pictures of both parts, by class.

    Raises:
        DataError: a part is missing, or has a class that the training images lack.
    """
    test = next((folder / name for name in ("test", "val") if (folder / name).is_dir()), None)
    if not (folder / "train").is_dir() or test is None:
        raise DataError(f"{folder} must have train/ and test/ (or val/) with one folder of images a class")
    parts = {"train": scan(folder / "train"), "test": scan(test)}
    if extra := set(parts["test"].files) - set(parts["train"].files):
        raise DataError(f"{test} has the class {min(extra)!r}, which {folder / 'train'} lacks")
    return parts


def read(folders: dict[str, ClassFolders], px: int) -> Pictures:
    """Both parts, decoded; labels are in the order of the names of the training images' folders."""
    classes = sorted(folders["train"].files)
    splits = {}
    for part, own in folders.items():
        its = _files(own, classes)
        splits[part] = Split(decode_all(its.files, px), its.labels)
    return Pictures(**splits, class_names=tuple(classes))


def _facts(wanted: Wanted, folders: dict[str, ClassFolders]) -> DataFacts:
    classes = sorted(folders["train"].files)
    images = folders["train"].images
    held = holdout_of(wanted, images, default=max(1, images // 10))
    test = [len(folders["test"].files.get(name, ())) for name in classes]
    return DataFacts(
        name=wanted.name,
        resolution_px=wanted.resolution_px or _DEFAULT_PX,
        channels=3,
        class_names=tuple(classes),
        train_images=images - held,
        holdout_images=held,
        resize="shorter_side",
        notes=(
            *(note for own in folders.values() for note in own.notes),
            *absent_classes(wanted.name, {"test": test}, classes),
        ),
    )


SOURCE = Source(look=look, load=load, pictures=pictures)

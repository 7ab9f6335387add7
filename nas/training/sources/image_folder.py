"""``image_folder``: one's own pictures, in ``train/<class>/`` and ``test/<class>/`` (or ``val/``), of any size.

Pictures in folders of a class's folder belong to the class. The holdout is a tenth of the training images unless given.
"""

from pathlib import Path

import numpy as np

from nas.training.datasets import Dataset, Split, absent_classes, cut_holdout, make
from nas.training.sources.cache import Pictures, cached
from nas.training.sources.folders import ClassFolders, scan
from nas.training.sources.images import decode_all
from nas.training.sources.wanted import DataError, DataFacts, Source, Wanted, holdout_of

__all__ = ["SOURCE", "class_folders", "load", "look", "read"]

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
        files = [file for name in classes for file in own.files.get(name, ())]
        labels = np.repeat(np.arange(len(classes)), [len(own.files.get(name, ())) for name in classes])
        splits[part] = Split(decode_all(files, px), labels.astype(np.int64))
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


SOURCE = Source(look=look, load=load)

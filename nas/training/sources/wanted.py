"""What is asked of a data set, and what is known of it before it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.training.datasets import Dataset, Resize
from nas.training.pictures import PictureSet
from nas_runtime.console import counted

__all__ = ["DataError", "DataFacts", "Source", "Wanted", "check_train_images", "facts_of", "holdout_of"]


class DataError(ValueError):
    """A data set that is not there, not complete, or not what it should be."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The options of a data set; see `nas.training.sources.load`.

    Attributes:
        holdout, test: a share (float, below 1) or a count (int); see `holdout_of`.
    """

    name: str
    path: Path | None = None
    train_images: int | None = None
    holdout: float | int | None = None
    test: float | int | None = None
    resolution_px: int | None = None
    crop: float = 1.0
    download: bool = False

    def given_path(self) -> Path:
        """The path, for a data set that needs one.

        Raises:
            DataError: there is none, or nothing is there.
        """
        if self.path is None:
            raise DataError(f"data set {self.name!r} needs dataset.path=..., the folder or archive with its files")
        if not self.path.exists():
            fetch = "; dataset.download=true fetches it" if self.name == "cifar10" else ""
            raise DataError(f"dataset.path={self.path}: there is no such file or folder{fetch}")
        return self.path


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is known of a data set without reading it.

    Attributes:
        class_names: by label.
        train_images: that a training sees: without the holdout, and no more than were asked for.
        test_images: for the final figure; None: not known yet.
        resize: how pictures become the data set's images.
        split: how parts were cut that the data set does not have itself, in words; empty: it has them.
        notes: what is doubtful about it, a sentence each.
    """

    name: str
    resolution_px: int
    channels: int
    class_names: tuple[str, ...]
    train_images: int
    holdout_images: int
    test_images: int | None = None
    resize: Resize = "none"
    split: str = ""
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def __post_init__(self) -> None:
        if self.classes < 2:
            names = ", ".join(self.class_names)
            raise DataError(f"{self.name} has one class only, {names}: any network gets it right; 2 or more are needed")


@dataclass(frozen=True, kw_only=True)
class Source:
    """How a data set is read, with all its training images and in its own size, and looked at before that.

    Attributes:
        load: reads it.
        look: tells in a moment what `load` will give; None: it must be read to know.
        pictures: gives it as pictures that are read when they are needed, `train_images` and `crop` as wanted; None:
            they are the squares that `load` reads. Where there is this, it and `load` refuse what cannot be before they
            read.
        downloads: whether it can be fetched.
        cuts_test: whether test images may be cut from the others; if not, it has its own, and `Wanted.test` is none.
    """

    load: Callable[[Wanted], Dataset]
    look: Callable[[Wanted], DataFacts] | None = None
    pictures: Callable[[Wanted], PictureSet] | None = None
    downloads: bool = False
    cuts_test: bool = False


def facts_of(data: Dataset) -> DataFacts:
    """What can be said of a data set that was read."""
    return DataFacts(
        name=data.name,
        resolution_px=data.resolution_px,
        channels=data.channels,
        class_names=data.class_names,
        train_images=len(data.train),
        holdout_images=len(data.holdout),
        test_images=len(data.test),
        resize=data.resize,
        notes=data.notes,
    )


def check_train_images(n: int, available: int, name: str) -> None:
    """
    Raises:
        DataError: the data set `name` has fewer training images than `n`.
    """
    if not 0 < n <= available:
        raise DataError(f"dataset.train_images={n}: allowed are 1 to {available}, all that {name} has")


def holdout_of(wanted: Wanted, images: int, default: int) -> int:
    """How many of the training images, of which there are `images`, are held out.

    Raises:
        DataError: nothing would be left to train on.
    """
    n = default if wanted.holdout is None else wanted.holdout
    if isinstance(n, float):
        n = max(1, round(n * images))
    if not 0 < n < images:
        has = f"{wanted.name} has {counted(images, 'training image')}"
        if wanted.holdout is None:
            raise DataError(f"{has}; allowed are 2 or more, since some are held out")
        raise DataError(
            f"dataset.holdout={wanted.holdout}: allowed are 1 to {images - 1}, since {has}, or a share below 1"
        )
    return n

"""Pictures that are read when they are needed: a data set for trainings at the size at which a network is used.

A `nas.training.datasets.Dataset` is arrays of small squares; this is the same data set as pictures of any size, whose
memory does not grow with their number. Random crops are cut out of the pictures themselves; evaluation goes by
`Preprocessing`, as programs do that use the finished network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from nas.training.datasets import Dataset, Preprocessing, Resize, Split

__all__ = ["PictureSet", "Pictures", "of_arrays", "squares"]


class Pictures(Protocol):
    """The pictures of one part of a data set, by their places, 0 to len - 1. Can be pickled, for workers."""

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64."""
        ...

    def __len__(self) -> int: ...

    def read(self, place: int, px: int) -> np.ndarray:
        """The picture at `place`, upright, in the colours of the data set.

        Args:
            px: the shorter side that is needed: what is larger may come smaller, but no smaller than this.

        Returns:
            (H, W, C) uint8, contiguous.

        Raises:
            nas.training.sources.DataError: it cannot be read; names it.
        """
        ...

    def square(self, place: int, rule: Preprocessing) -> np.ndarray:
        """The picture as a program gives it to the finished network: (px, px, C) uint8."""
        ...

    def name(self, place: int) -> str:
        """What to call the picture in messages: its file."""
        ...


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """A data set in three parts of pictures.

    Attributes:
        name: what it is called in records.
        class_names: by label.
        resolution_px: height and width of the squares that networks are given.
        channels: 1 (grey) or 3.
        resize: how a picture becomes such a square.
        crop: the share of the shorter side that an evaluation looks at: the shorter side is resized to
            ``resolution_px / crop``.
        mean, std: of each channel, of pixels in [0, 1], for normalisation.
        flip: whether a mirrored picture still shows the same thing.
        notes: what is doubtful about it, a sentence each.
        identity: what stands for the pictures and their parts in records: equal for the same files in the same parts,
            and for a copy of them that keeps their times.
        split: how parts were cut that the data set does not have itself, in words; empty: it has them.
        kept: what is kept of it decoded: how much, and where; empty: nothing.
    """

    name: str
    class_names: tuple[str, ...]
    train: Pictures
    holdout: Pictures
    test: Pictures
    resolution_px: int
    channels: int
    resize: Resize
    mean: tuple[float, ...]
    std: tuple[float, ...]
    identity: str
    crop: float = 1.0
    flip: bool = True
    notes: tuple[str, ...] = ()
    split: str = ""
    kept: str = ""

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def preprocessing(self) -> Preprocessing:
        mode: Literal["L", "RGB"] = "L" if self.channels == 1 else "RGB"
        return Preprocessing(
            mode=mode,
            resize=self.resize,
            filter=None if self.resize == "none" else "bicubic",
            resolution_px=self.resolution_px,
            resize_px=round(self.resolution_px / self.crop),
            divide_by=255,
            mean=self.mean,
            std=self.std,
        )

    def record(self) -> dict[str, object]:
        """What it is, as plain data, for the files of a run: the same files and `split` give the same `identity`."""
        parts = {"train": self.train, "holdout": self.holdout, "test": self.test}
        return {
            "name": self.name,
            "classes": self.classes,
            "images": {name: len(part) for name, part in parts.items()},
            "split": self.split,
            "identity": self.identity,
            "notes": list(self.notes),
        }

    def normalised_by(self, mean: Sequence[float], std: Sequence[float]) -> "PictureSet":
        """The same pictures, normalised as weights that others trained ask for."""
        return replace(self, mean=tuple(mean), std=tuple(std))


def squares(part: Pictures, rule: Preprocessing, places: Sequence[int] | np.ndarray) -> np.ndarray:
    """The pictures at `places` as inputs of the finished network: (n, px, px, C) uint8."""
    return np.stack([part.square(int(place), rule) for place in places])


@dataclass(frozen=True)
class _Arrays:
    """Squares in memory as `Pictures`."""

    split: Split
    whose: str

    @property
    def labels(self) -> np.ndarray:
        return self.split.labels

    def __len__(self) -> int:
        return len(self.split)

    def read(self, place: int, px: int) -> np.ndarray:
        return self.split.images[place]

    def square(self, place: int, rule: Preprocessing) -> np.ndarray:
        return self.split.images[place]

    def name(self, place: int) -> str:
        return f"image {place} of {self.whose}"


def of_arrays(data: Dataset, identity: str) -> PictureSet:
    """A data set of arrays, whose squares are its pictures."""
    return PictureSet(
        name=data.name,
        class_names=data.class_names,
        train=_Arrays(data.train, f"{data.name}'s train"),
        holdout=_Arrays(data.holdout, f"{data.name}'s holdout"),
        test=_Arrays(data.test, f"{data.name}'s test"),
        resolution_px=data.resolution_px,
        channels=data.channels,
        resize=data.resize,
        mean=data.mean,
        std=data.std,
        identity=identity,
        flip=data.flip,
        notes=data.notes,
    )

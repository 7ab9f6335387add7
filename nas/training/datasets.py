"""Images in memory: what a data set is once it has been read.

Images are uint8 in ``(N, H, W, C)``: a quarter of the memory of floats, and a batch permuted to ``(N, C, H, W)`` is in
torch's channels_last layout without a copy. The search trains on `train` and measures on `holdout`;
`test` is for the final training only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Dataset", "Preprocessing", "Resize", "Split", "cut_holdout", "drawn", "make", "part", "statistics"]

Resize = Literal["none", "stretch", "shorter_side"]
"""How a picture becomes a square: it is one already; both sides are resized, each by itself; or the shorter side is
resized and the middle is cut out."""


@dataclass(frozen=True)
class Split:
    """Images (N, H, W, C) uint8 and labels (N,) int64."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a picture becomes an input (1, C, H, W) of a network, in this order: for programs that use the network.

    Attributes:
        mode: Pillow's name of the colours, in this order: ``L`` (one channel, grey) or ``RGB``.
        resize: how the picture becomes a square.
        filter: of resizing, by Pillow's name; None where nothing is resized.
        resolution_px: both sides of the square.
        divide_by: values from 0 to 255 become 0 to 1.
        mean, std: of each channel, in [0, 1]: subtracted from, and divided into, what was divided.
    """

    mode: Literal["L", "RGB"]
    resize: Resize
    filter: str | None
    resolution_px: int
    divide_by: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def describe(self) -> str:
        """In words, on one line."""
        px = self.resolution_px
        square = {
            "none": f"{px} x {px} px",
            "stretch": f"resized to {px} x {px} px ({self.filter})",
            "shorter_side": f"shorter side resized to {px} px ({self.filter}), middle {px} x {px} px cut out",
        }[self.resize]
        mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (self.mean, self.std))
        return f"{self.mode}; {square}; divided by {self.divide_by}; minus {mean}; divided by {std}"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set in three parts.

    Attributes:
        name: what it is called in records.
        classes: number of classes; labels are 0 .. classes - 1.
        class_names: of the classes, by label.
        mean, std: of each channel of `train`, of pixels in [0, 1], for normalisation.
        flip: whether a mirrored image still shows the same thing.
        resize: how pictures became these images.
        notes: what is doubtful about it, a sentence each.
    """

    name: str
    classes: int
    class_names: tuple[str, ...]
    train: Split
    holdout: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = True
    resize: Resize = "none"
    notes: tuple[str, ...] = ()

    @property
    def resolution_px(self) -> int:
        return self.train.images.shape[1]

    @property
    def channels(self) -> int:
        return self.train.images.shape[3]

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(
            mode="L" if self.channels == 1 else "RGB",
            resize=self.resize,
            filter=None if self.resize == "none" else "bicubic",
            resolution_px=self.resolution_px,
            divide_by=255,
            mean=self.mean,
            std=self.std,
        )


def make(
    name: str,
    *,
    train: Split,
    holdout: Split,
    test: Split,
    classes: int,
    class_names: Sequence[str] | None = None,
    flip: bool = True,
    resize: Resize = "none",
) -> Dataset:
    """A `Dataset` with the mean and deviation of its training images.

    Args:
        class_names: None: the labels, as texts.
    """
    mean, std = statistics(train.images)
    return Dataset(
        name=name,
        classes=classes,
        class_names=tuple(map(str, range(classes))) if class_names is None else tuple(class_names),
        train=train,
        holdout=holdout,
        test=test,
        mean=mean,
        std=std,
        flip=flip,
        resize=resize,
    )


def cut_holdout(split: Split, n: int, *, rng_seed: int) -> tuple[Split, Split]:
    """`split` without `n` images, and those `n` images, drawn at random but the same for the same seed.

    Raises:
        ValueError: nothing would be left to train on.
    """
    if not 0 < n < len(split):
        raise ValueError(f"holdout is {n} images; allowed: 1 to {len(split) - 1} (the data set has {len(split)})")
    order = np.random.default_rng(rng_seed).permutation(len(split))
    kept, held = np.sort(order[n:]), np.sort(order[:n])
    return Split(split.images[kept], split.labels[kept]), Split(split.images[held], split.labels[held])


def part(split: Split, n: int) -> Split:
    """`n` images of `split`, evenly spaced, in their order; all if it has fewer."""
    places = np.linspace(0, len(split) - 1, min(n, len(split))).astype(np.int64)
    return Split(split.images[places], split.labels[places])


def drawn(split: Split, n: int) -> Split:
    """`n` images of `split`, drawn at random, always the same ones; all, in random order, if it has fewer."""
    order = np.random.default_rng(0).permutation(len(split))[:n]
    return Split(split.images[order], split.labels[order])


def statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of images (N, H, W, C) uint8, in [0, 1].

    A deviation is at least one step, 1/255: a channel that is the same everywhere can be divided by it.
    """
    values = images.reshape(-1, images.shape[3])
    std = np.maximum(values.std(0), 1.0)
    return tuple((values.mean(0) / 255).tolist()), tuple((std / 255).tolist())

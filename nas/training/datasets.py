"""Images in memory: what a data set is once it has been read.

Images are uint8 in ``(N, H, W, C)``: a quarter of the memory of floats, and a batch permuted to ``(N, C, H, W)`` is in
torch's channels_last layout without a copy. The search trains on `train` and measures on `holdout`;
`test` is for the final training only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nas_runtime.console import counted

__all__ = [
    "Dataset",
    "Preprocessing",
    "Resize",
    "Split",
    "absent_classes",
    "cut_holdout",
    "drawn",
    "drawn_places",
    "make",
    "part",
    "statistics",
    "statistics_of",
]

Resize = Literal["none", "stretch", "shorter_side"]
"""How a picture becomes a square: it is one already; both sides are resized, each by itself; or the shorter side is
resized and the middle is cut out."""


_AT_ONCE = 2**22
"""Values of images that are worked on at once: what is computed of them takes little memory."""


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
        resize_px: what the shorter side is resized to; of it the middle `resolution_px` are cut out.
        divide_by: values from 0 to 255 become 0 to 1.
        mean, std: of each channel, in [0, 1]: subtracted from, and divided into, what was divided.
    """

    mode: Literal["L", "RGB"]
    resize: Resize
    filter: str | None
    resolution_px: int
    resize_px: int
    divide_by: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def describe(self) -> str:
        """The data set in words, on one line."""
        px, side = self.resolution_px, self.resize_px
        square = {
            "none": f"{px} x {px} px",
            "stretch": f"resized to {px} x {px} px ({self.filter})",
            "shorter_side": f"shorter side resized to {side} px ({self.filter}), middle {px} x {px} px cut out",
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
            resize_px=self.resolution_px,
            divide_by=255,
            mean=self.mean,
            std=self.std,
        )

    def noted(self, notes: Sequence[str]) -> "Dataset":
        """The same data set with more notes; none stands there twice."""
        return replace(self, notes=tuple(dict.fromkeys([*notes, *self.notes])))


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

    Raises:
        ValueError: splits that do not go together, or that cannot tell networks apart.
    """
    names = tuple(map(str, range(classes))) if class_names is None else tuple(class_names)
    if classes < 2:
        raise ValueError(f"{name} has {counted(classes, 'class')}, which any network gets right; 2 or more are needed")
    if len(names) != classes:
        raise ValueError(f"{name} has {classes} classes, but {counted(len(names), 'name')} of classes")
    parts = {"train": train, "holdout": holdout, "test": test}
    for part_name, split in parts.items():
        _check(f"{name}'s {part_name}", split, train.images.shape[1:], classes)
    if _all_alike(train.images):
        raise ValueError(f"all images of {name}'s train are the same: nothing can be learnt from them")
    if len(np.unique(train.labels)) < 2:
        raise ValueError(f"{name}'s train has images of one class only, {names[train.labels[0]]}: 2 or more are needed")
    mean, std = statistics(train.images)
    return Dataset(
        name=name,
        classes=classes,
        class_names=names,
        train=train,
        holdout=holdout,
        test=test,
        mean=mean,
        std=std,
        flip=flip,
        resize=resize,
        notes=absent_classes(
            name, {part_name: np.bincount(split.labels, minlength=classes) for part_name, split in parts.items()}, names
        ),
    )


def absent_classes(
    name: str, images: Mapping[str, Sequence[int] | np.ndarray], class_names: Sequence[str]
) -> tuple[str, ...]:
    """What to say of parts that lack classes.

    Args:
        images: of each part, the number of images of each class.
    """
    notes = []
    for part_name, counts in images.items():
        if absent := [class_names[i] for i, n in enumerate(counts) if n == 0]:
            shown = ", ".join(absent[:5]) + ", ..." * (len(absent) > 5)
            notes.append(f"{name}'s {part_name} has no images of {len(absent)} of {len(counts)} classes: {shown}")
    return tuple(notes)


def _check(whose: str, split: Split, shape: tuple[int, ...], classes: int) -> None:
    images, labels = split.images, split.labels
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or not all(images.shape):
        raise ValueError(
            f"{whose} images are {images.dtype} of shape {images.shape}; allowed are uint8, 0 to 255, (N, H, W, C), "
            "H = W, nothing of size 0"
        )
    if images.shape[1:] != shape:
        raise ValueError(f"{whose} images have the shape {images.shape[1:]}, the training images {shape}")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{whose} labels are {labels.dtype} of shape {labels.shape}; allowed are int64, ({len(images)},): one for "
            "each image"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{whose} labels are {labels.min()} to {labels.max()}; allowed are 0 to {classes - 1}")


def _all_alike(images: np.ndarray) -> bool:
    return all((some == images[0]).all() for some in _pieces(images))


def _pieces(images: np.ndarray) -> Iterator[np.ndarray]:
    """`images` (N, H, W, C) in pieces of at most some `_AT_ONCE` values."""
    step = max(1, _AT_ONCE // images[0].size)
    return (images[i : i + step] for i in range(0, len(images), step))


def cut_holdout(split: Split, n: int, *, rng_seed: int, reuse: bool = False) -> tuple[Split, Split]:
    """`split` without `n` images, and those `n` images, drawn at random but the same for the same seed.

    Args:
        reuse: the memory of `split`, which must not be used afterwards: nothing is there twice.

    Raises:
        ValueError: nothing would be left to train on.
    """
    if not 0 < n < len(split):
        has = counted(len(split), "image")
        raise ValueError(
            f"the holdout is {counted(n, 'image')}; allowed: 1 to {len(split) - 1} (the data set has {has})"
        )
    held = drawn_places(len(split), n, rng_seed=rng_seed)
    kept = np.delete(np.arange(len(split)), held)
    holdout = Split(split.images[held], split.labels[held])
    if not reuse:
        return Split(split.images[kept], split.labels[kept]), holdout
    for i, place in enumerate(kept):  # place >= i: nothing is overwritten that is still needed
        split.images[i] = split.images[place]
    return Split(split.images[: len(kept)], split.labels[kept]), holdout


def drawn_places(images: int, n: int, *, rng_seed: int) -> np.ndarray:
    """The places of `n` of so many images, drawn at random but the same for the same seed, in ascending order."""
    return np.sort(np.random.default_rng(rng_seed).permutation(images)[:n])


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
    return statistics_of(_pieces(images))


def statistics_of(pieces: Iterable[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The same of images in pieces (..., C) uint8, all together: each of their pixels counts alike."""
    value = np.arange(256)
    counts = np.zeros((0, 256), np.int64)
    for some in pieces:
        flat = some.reshape(-1, some.shape[-1])
        its = np.stack([np.bincount(channel, minlength=256) for channel in flat.T])
        counts = counts + its if len(counts) else its
    n = counts[0].sum()
    mean = counts @ value / n
    std = np.sqrt((counts * (value - mean[:, None]) ** 2).sum(1) / n)
    return tuple((mean / 255).tolist()), tuple((np.maximum(std, 1.0) / 255).tolist())

"""Images in memory: what a data set is once it has been read.

Images are uint8 in ``(N, H, W, C)``: a quarter of the memory of floats, and a batch permuted to ``(N, C, H, W)`` is in
torch's channels_last layout without a copy. The search trains on `train` and measures on `holdout`;
`test` is for the final training only.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Dataset", "Split", "cut_holdout", "drawn", "part"]


@dataclass(frozen=True)
class Split:
    """Images (N, H, W, C) uint8 and labels (N,) int64."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set in three parts.

    Attributes:
        name: what it is called in records.
        classes: number of classes; labels are 0 .. classes - 1.
        mean, std: of each channel of `train`, in [0, 1], for normalisation.
        flip: whether a mirrored image still shows the same thing.
    """

    name: str
    classes: int
    train: Split
    holdout: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = True

    @property
    def resolution_px(self) -> int:
        return self.train.images.shape[1]

    @property
    def channels(self) -> int:
        return self.train.images.shape[3]


def make(name: str, *, train: Split, holdout: Split, test: Split, classes: int, flip: bool = True) -> Dataset:
    """A `Dataset` with the mean and deviation of its training images."""
    return Dataset(
        name=name, classes=classes, train=train, holdout=holdout, test=test, flip=flip, **_statistics(train.images)
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


def _statistics(images: np.ndarray) -> dict[str, tuple[float, ...]]:
    values = images.reshape(-1, images.shape[3])
    return {"mean": tuple((values.mean(0) / 255).tolist()), "std": tuple((values.std(0) / 255).tolist())}

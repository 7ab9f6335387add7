"""Circles, squares, triangles and crosses of any size anywhere, grey on noise: a data set that needs no files.

It has the options of every data set:

    python -m nas.search +target=pixel1_small dataset=drawn_shapes
    python -m nas.search +target=pixel1_small dataset=drawn_shapes dataset.train_images=500 dataset.holdout=400
    python -m nas.search +target=pixel1_small dataset=drawn_shapes:load      # in this folder
"""

import numpy as np

from nas.training.datasets import Dataset, Split, cut_holdout, make
from nas.training.sources import Wanted, holdout_of

_PX = 24
_CLASS_NAMES = ("circle", "square", "triangle", "cross")
_IMAGES = {"train": 3000, "test": 1000}


def load(wanted: Wanted) -> Dataset:
    """The data set: the same images each time, of which `wanted.holdout`, or 600, are held out."""
    rng = np.random.default_rng(0)
    both, test = (_drawn(rng, n) for n in _IMAGES.values())
    train, holdout = cut_holdout(both, holdout_of(wanted, len(both), 600), rng_seed=0)
    return make(
        wanted.name,
        train=train,
        holdout=holdout,
        test=test,
        classes=len(_CLASS_NAMES),
        class_names=_CLASS_NAMES,
    )


def _drawn(rng: np.random.Generator, n: int) -> Split:
    """`n` images (n, H, W, 1), each of a random class."""
    labels = rng.integers(0, len(_CLASS_NAMES), n)
    half = rng.uniform(4, 9, (n, 1, 1))  # of the shape's side, in pixels
    x0, y0 = rng.uniform(9, _PX - 9, (2, n, 1, 1))
    y, x = np.mgrid[:_PX, :_PX]
    x, y = np.abs(x - x0), y - y0
    inside = np.choose(
        labels[:, None, None],
        [
            x**2 + y**2 < half**2,
            np.maximum(x, np.abs(y)) < 0.85 * half,
            (np.abs(y) < half) & (2 * x < half + y),
            (np.minimum(x, np.abs(y)) < half / 4) & (np.maximum(x, np.abs(y)) < half),
        ],
    )
    grey = rng.normal(80, 30, inside.shape) + rng.uniform(50, 130, (n, 1, 1)) * inside
    return Split(grey.clip(0, 255).astype(np.uint8)[..., None], labels)

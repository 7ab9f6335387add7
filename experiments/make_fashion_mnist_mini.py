"""Makes the embedded data set from Fashion-MNIST: `python -m experiments.make_fashion_mnist_mini [FOLDER]`.

FOLDER holds the four IDX files (default: where Debian's dataset-fashion-mnist puts them). The training and holdout
images are drawn from the original training set, the test images from the original test set; pixels are unchanged.
Running it again gives the same arrays.
"""

import sys
from pathlib import Path

import numpy as np

from nas.training import sources

TRAIN, HOLDOUT, TEST = 5000, 6000, 5000


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    full = sources.fashion_mnist(folder, holdout_images=HOLDOUT)
    rng = np.random.default_rng(0)
    parts = {
        "train": (full.train, rng.permutation(len(full.train))[:TRAIN]),
        "holdout": (full.holdout, np.arange(HOLDOUT)),
        "test": (full.test, rng.permutation(len(full.test))[:TEST]),
    }
    arrays = {}
    for name, (split, picked) in parts.items():
        arrays[f"{name}_images"] = split.images[picked, :, :, 0]
        arrays[f"{name}_labels"] = split.labels[picked].astype(np.uint8)
    sources.MINI.parent.mkdir(exist_ok=True)
    np.savez_compressed(sources.MINI, **arrays)
    print(f"{sources.MINI}: {sources.MINI.stat().st_size / 1e6:.2f} MB, {TRAIN} train, {HOLDOUT} holdout, {TEST} test")


if __name__ == "__main__":
    main()

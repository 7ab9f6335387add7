"""Makes the embedded data set from Fashion-MNIST: `python -m experiments.make_fashion_mnist_mini [path=FOLDER]`.

`path` holds the four IDX files (default: where Debian's dataset-fashion-mnist puts them). The training and holdout
images are drawn from the original training set, the test images from the original test set; pixels are unchanged.
Running it again gives the same arrays.
"""

from pathlib import Path

import numpy as np

from experiments import options
from nas.training import sources
from nas.training.sources.fashion_mnist import MINI, MINI_IMAGES


def main() -> None:
    given = options.read({"path": ""})["path"]
    folder = Path(given) if given else None
    full = sources.load("fashion_mnist", path=folder, holdout=MINI_IMAGES["holdout"])
    rng = np.random.default_rng(0)
    parts = {
        "train": (full.train, rng.permutation(len(full.train))[: MINI_IMAGES["train"]]),
        "holdout": (full.holdout, np.arange(MINI_IMAGES["holdout"])),
        "test": (full.test, rng.permutation(len(full.test))[: MINI_IMAGES["test"]]),
    }
    arrays = {}
    for name, (split, picked) in parts.items():
        arrays[f"{name}_images"] = split.images[picked, :, :, 0]
        arrays[f"{name}_labels"] = split.labels[picked].astype(np.uint8)
    MINI.parent.mkdir(exist_ok=True)
    np.savez_compressed(MINI, **arrays)
    images = ", ".join(f"{n} {part}" for part, n in MINI_IMAGES.items())
    print(f"{MINI}: {MINI.stat().st_size / 1e6:.2f} MB, {images}")


if __name__ == "__main__":
    options.run(main)

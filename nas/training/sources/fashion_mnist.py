"""Fashion-MNIST (arXiv:1708.07747): ``fashion_mnist``, and ``fashion_mnist_mini``, the part that is embedded here."""

import gzip
import hashlib
import math
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from nas.training.datasets import Dataset, Split, cut_holdout, make
from nas.training.sources.fetch import fetch
from nas.training.sources.wanted import DataError, DataFacts, Wanted, holdout_of

__all__ = ["MINI", "load", "load_mini", "look", "look_mini"]

MINI = Path(__file__).parents[1] / "data" / "fashion_mnist_mini.npz"
MINI_IMAGES = {"train": 5000, "holdout": 6000, "test": 5000}

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# of the uncompressed IDX files, so that any recompression (Debian's, say) is recognised
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SHAPES = {
    "train-images-idx3-ubyte": (60000, 28, 28),
    "train-labels-idx1-ubyte": (60000,),
    "t10k-images-idx3-ubyte": (10000, 28, 28),
    "t10k-labels-idx1-ubyte": (10000,),
}
CLASS_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_HOLDOUT = 5000


def look_mini(wanted: Wanted) -> DataFacts:
    if not MINI.is_file():
        raise DataError(f"the embedded data set {MINI} is missing; install the package again")
    return DataFacts(
        name=wanted.name,
        resolution_px=28,
        channels=1,
        class_names=CLASS_NAMES,
        train_images=MINI_IMAGES["train"],
        holdout_images=_mini_holdout(wanted),
        test_images=MINI_IMAGES["test"],
    )


def load_mini(wanted: Wanted) -> Dataset:
    """The part of Fashion-MNIST that is embedded in the package (``experiments/make_fashion_mnist_mini.py``)."""
    held = _mini_holdout(wanted)
    try:
        with MINI.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as e:
        raise DataError(f"the embedded data set {MINI} cannot be read ({e}); install the package again") from None
    train, holdout, test = (
        Split(arrays[f"{part}_images"][..., None], arrays[f"{part}_labels"].astype(np.int64)) for part in MINI_IMAGES
    )
    holdout = Split(holdout.images[:held], holdout.labels[:held])
    return make(wanted.name, train=train, holdout=holdout, test=test, classes=10, class_names=CLASS_NAMES)


def _mini_holdout(wanted: Wanted) -> int:
    available, n = MINI_IMAGES["holdout"], wanted.holdout_images
    if n is not None and not 0 < n <= available:
        raise DataError(f"dataset.holdout_images={n}: allowed are 1 to {available}, all that {wanted.name} has")
    return available if n is None else n


def look(wanted: Wanted) -> DataFacts:
    folder = wanted.path or DEBIAN
    if not wanted.download:
        for name in SHA256:
            _file(folder, name)
    images, test = SHAPES["train-images-idx3-ubyte"][0], SHAPES["t10k-images-idx3-ubyte"][0]
    held = holdout_of(wanted, images, _HOLDOUT)
    return DataFacts(
        name=wanted.name,
        resolution_px=28,
        channels=1,
        class_names=CLASS_NAMES,
        train_images=images - held,
        holdout_images=held,
        test_images=test,
    )


def load(wanted: Wanted) -> Dataset:
    """Fashion-MNIST from its four IDX files, gzipped or not, in the folder `path`; None: where Debian's package
    ``dataset-fashion-mnist`` puts them."""
    folder = wanted.path or DEBIAN
    if wanted.download and not (folder / "train-images-idx3-ubyte.gz").exists():
        _download(folder)
    arrays = [_read_idx(folder, name) for name in SHA256]
    both = Split(arrays[0][..., None], arrays[1].astype(np.int64))
    test = Split(arrays[2][..., None], arrays[3].astype(np.int64))
    train, holdout = cut_holdout(both, holdout_of(wanted, len(both), _HOLDOUT), rng_seed=0)
    return make(wanted.name, train=train, holdout=holdout, test=test, classes=10, class_names=CLASS_NAMES)


def _file(folder: Path, name: str) -> Path:
    """The file `name`, gzipped or not."""
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            return path
    raise DataError(
        f"{folder / name}.gz is missing; set dataset.path to a folder with the four IDX files, add "
        "dataset.download=true, or install Debian's dataset-fashion-mnist"
    )


def _read_idx(folder: Path, name: str) -> np.ndarray:
    """One IDX file, checked against its checksum."""
    path = _file(folder, name)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as e:
        raise DataError(f"{path} is damaged ({e}); fetch it again") from None
    if hashlib.sha256(raw).hexdigest() != SHA256[name]:
        raise DataError(f"{path} is not Fashion-MNIST's (its checksum differs)")
    return np.frombuffer(raw, np.uint8, offset=len(raw) - math.prod(SHAPES[name])).reshape(SHAPES[name])


def _download(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, expected in SHA256.items():
        sha256 = partial(_sha256_of_gzipped, expected=expected)
        fetch(f"{URL}/{name}.gz", folder / f"{name}.gz", sha256, "Fashion-MNIST's")


def _sha256_of_gzipped(content: bytes, *, expected: str) -> bool:
    return hashlib.sha256(gzip.decompress(content)).hexdigest() == expected

"""Fashion-MNIST (arXiv:1708.07747): ``fashion_mnist``, and ``fashion_mnist_mini``, the part that is embedded here."""

import hashlib
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nas.training.datasets import Dataset, Split, cut_holdout, make
from nas.training.sources.archives import ArchiveError, read_gzip, read_npz
from nas.training.sources.fetch import fetch
from nas.training.sources.wanted import DataError, DataFacts, Source, Wanted, holdout_of

__all__ = ["MINI", "MINI_SOURCE", "SOURCE", "load", "load_mini", "look", "look_mini"]

MINI = Path(__file__).parents[1] / "data" / "fashion_mnist_mini.npz"
MINI_IMAGES = {"train": 5000, "holdout": 6000, "test": 5000}

# the authors' repository; the address in its README serves the same files, but without encryption
URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Idx:
    """One IDX file.

    Attributes:
        sha256: of the file unpacked, so that any recompression (Debian's, say) is recognised.
        gz_bytes: of the gzip file at `URL`.
    """

    shape: tuple[int, ...]
    sha256: str
    gz_bytes: int

    @property
    def bytes(self) -> int:
        """Size of the unpacked file: a header, and one byte a value."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


FILES = {
    "train-images-idx3-ubyte": Idx(
        (60000, 28, 28), "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 26421880
    ),
    "train-labels-idx1-ubyte": Idx((60000,), "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 29515),
    "t10k-images-idx3-ubyte": Idx(
        (10000, 28, 28), "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 4422102
    ),
    "t10k-labels-idx1-ubyte": Idx((10000,), "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 5148),
}
CLASS_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_HOLDOUT = 5000
_MINI_BYTES = 2**24  # of its arrays, with some room


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
        arrays = read_npz(MINI, most_bytes=_MINI_BYTES)
    except (OSError, ArchiveError) as e:
        raise DataError(f"the embedded data set cannot be read ({e}); install the package again") from None
    train, holdout, test = (
        Split(arrays[f"{part}_images"][..., None], arrays[f"{part}_labels"].astype(np.int64)) for part in MINI_IMAGES
    )
    holdout = Split(holdout.images[:held], holdout.labels[:held])
    return make(wanted.name, train=train, holdout=holdout, test=test, classes=10, class_names=CLASS_NAMES)


def _mini_holdout(wanted: Wanted) -> int:
    available, n = MINI_IMAGES["holdout"], wanted.holdout
    if n is None:
        return available
    if isinstance(n, float):
        n = round(MINI_IMAGES["train"] * n / (1 - n))  # they are held out already: none of the training images is
    if not 0 < n <= available:
        raise DataError(
            f"dataset.holdout={wanted.holdout}: allowed are 1 to {available}, all that {wanted.name} has, or a share"
        )
    return n


def look(wanted: Wanted) -> DataFacts:
    _folder(wanted)
    images = FILES["train-images-idx3-ubyte"].shape[0]
    held = holdout_of(wanted, images, _HOLDOUT)
    return DataFacts(
        name=wanted.name,
        resolution_px=28,
        channels=1,
        class_names=CLASS_NAMES,
        train_images=images - held,
        holdout_images=held,
        test_images=FILES["t10k-images-idx3-ubyte"].shape[0],
    )


def load(wanted: Wanted) -> Dataset:
    """Fashion-MNIST from its four IDX files, gzipped or not, in the folder `path`; None: where Debian's package
    ``dataset-fashion-mnist`` puts them."""
    folder = _folder(wanted)
    for name, idx in FILES.items():
        if _file(folder, name) is None:
            url, path = f"{URL}/{name}.gz", folder / f"{name}.gz"
            fetch(url, path, size_bytes=idx.gz_bytes, right=partial(_is_right, idx), whose="Fashion-MNIST's")
    arrays = [_read_idx(folder, name, idx) for name, idx in FILES.items()]
    both = Split(arrays[0][..., None], arrays[1].astype(np.int64))
    test = Split(arrays[2][..., None], arrays[3].astype(np.int64))
    train, holdout = cut_holdout(both, holdout_of(wanted, len(both), _HOLDOUT), rng_seed=0, reuse=True)
    return make(wanted.name, train=train, holdout=holdout, test=test, classes=10, class_names=CLASS_NAMES)


def _folder(wanted: Wanted) -> Path:
    """Where the files are, or, if they may be fetched, will be.

    Raises:
        DataError: one is missing and is not to be fetched, or there is no folder to put it in.
    """
    folder = wanted.path or DEBIAN
    if wanted.path is not None and wanted.path.is_file():
        raise DataError(f"dataset.path={wanted.path} is a file; give the folder of the four IDX files")
    missing = [name for name in FILES if _file(folder, name) is None]
    if missing and wanted.download and wanted.path is None:
        raise DataError("dataset.download=true: say where to with dataset.path=..., a folder")
    if missing and not wanted.download:
        raise DataError(
            f"{folder / missing[0]}.gz is missing; set dataset.path to a folder with the four IDX files, add "
            "dataset.download=true, or install Debian's dataset-fashion-mnist"
        )
    return folder


def _file(folder: Path, name: str) -> Path | None:
    """The file `name`, gzipped or not."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _read_idx(folder: Path, name: str, idx: Idx) -> np.ndarray:
    """One IDX file, checked against its checksum."""
    path = _file(folder, name)
    assert path is not None
    if path.suffix == ".gz":
        raw = read_gzip(path, most_bytes=idx.bytes)
    else:
        with path.open("rb") as file:
            raw = file.read(idx.bytes + 1)
    if hashlib.sha256(raw).hexdigest() != idx.sha256:
        raise DataError(f"{path} is not Fashion-MNIST's (its checksum differs)")
    values = np.frombuffer(bytearray(raw), np.uint8)  # of bytes it could not be written to
    return values[-math.prod(idx.shape) :].reshape(idx.shape)


def _is_right(idx: Idx, path: Path) -> bool:
    try:
        return hashlib.sha256(read_gzip(path, most_bytes=idx.bytes)).hexdigest() == idx.sha256
    except ArchiveError:
        return False


MINI_SOURCE = Source(look=look_mini, load=load_mini)
SOURCE = Source(look=look, load=load, downloads=True)

"""``cifar10``: CIFAR-10 from its official binary archive, that archive unpacked, or class folders.

The path is ``cifar-10-binary.tar.gz``; or a folder with that archive, with its ``.bin`` files, or with ``train/`` and
``test/`` of one folder a class; or a tar archive of such folders.
"""

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nas.training.datasets import Dataset, Split, cut_holdout, make
from nas.training.sources.cache import cached
from nas.training.sources.fetch import fetch
from nas.training.sources.images import IMAGE_SUFFIXES, class_files, decode_all
from nas.training.sources.wanted import DataError, DataFacts, Wanted, holdout_of

__all__ = ["load", "look"]

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as that page gives it

IMAGES = {"train": 50000, "test": 10000}
# in the order of the labels, which is also that of the alphabet
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_HOLDOUT = 5000


def look(wanted: Wanted) -> DataFacts:
    class_names = CLASS_NAMES
    if not _to_be_fetched(wanted):
        source = _source(wanted.given_path())
        if source.is_dir() and (source / "train").is_dir():
            class_names = tuple(sorted(class_files(source / "train")))
    held = holdout_of(wanted, IMAGES["train"], _HOLDOUT)
    return DataFacts(
        name=wanted.name,
        resolution_px=32,
        channels=3,
        class_names=class_names,
        train_images=IMAGES["train"] - held,
        holdout_images=held,
        test_images=IMAGES["test"],
    )


def load(wanted: Wanted) -> Dataset:
    if _to_be_fetched(wanted):
        assert wanted.path is not None
        _download(wanted.path)
    source = _source(wanted.given_path())
    splits = cached(source, "cifar10", lambda: read(source))
    for part, expected in IMAGES.items():
        if len(splits[part]) != expected:
            raise DataError(f"{source} has {len(splits[part])} {part} images; CIFAR-10 has {expected}")
    train, holdout = cut_holdout(splits["train"], holdout_of(wanted, len(splits["train"]), _HOLDOUT), rng_seed=0)
    class_names = look(wanted).class_names
    return make(wanted.name, train=train, holdout=holdout, test=splits["test"], classes=10, class_names=class_names)


def _to_be_fetched(wanted: Wanted) -> bool:
    path = wanted.path
    return wanted.download and path is not None and not (path.exists() and (path.is_file() or _has_files(path)))


def _has_files(folder: Path) -> bool:
    """Whether it holds anything but downloads that were cut off."""
    return any(not path.name.endswith(".partial") for path in folder.iterdir())


def _download(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    def right(content: bytes) -> bool:
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == MD5

    fetch(URL, folder / URL.rsplit("/", 1)[1], right, "CIFAR-10's")


def _source(path: Path) -> Path:
    """The file or folder that holds the images."""
    if path.is_file():
        return path
    if (path / "train").is_dir() or (path / "data_batch_1.bin").exists():
        return path
    if (path / "cifar-10-batches-bin").is_dir():
        return path / "cifar-10-batches-bin"
    archives = sorted(p for p in path.iterdir() if p.name.endswith((".tar.gz", ".tgz", ".tar")))
    if len(archives) == 1:
        return archives[0]
    found = f"{len(archives)} archives" if archives else "none of these"
    raise DataError(
        f"{path} must have train/ and test/ folders, data_batch_1.bin, or one tar archive of them; it has {found}"
    )


def read(source: Path) -> dict[str, Split]:
    """The images in a file or folder, however many there are."""
    if source.is_dir() and (source / "train").is_dir():
        files = {part: class_files(source / part) for part in ("train", "test")}
        classes = sorted(files["train"])
        items = {
            part: [(classes.index(c), p.read_bytes(), str(p)) for c in classes for p in f.get(c, [])]
            for part, f in files.items()
        }
        return {part: decode_all(found, 32) for part, found in items.items()}
    members = _folder_bytes(source) if source.is_dir() else _tar_bytes(source)
    binary = {Path(name).name: raw for name, raw in members.items() if name.endswith(".bin")}
    if binary:
        batches = [f"data_batch_{i}.bin" for i in range(1, 6)]
        if missing := [name for name in (*batches, "test_batch.bin") if name not in binary]:
            raise DataError(f"{source} has no {missing[0]}")
        train = _records(b"".join(binary[name] for name in batches), source)
        return {"train": train, "test": _records(binary["test_batch.bin"], source)}
    if any("data_batch_1" in name for name in members):
        raise DataError(f"{source} is the Python version, which holds pickles; use cifar-10-binary.tar.gz")
    images = {name: Path(name).parts for name in members if name.lower().endswith(IMAGE_SUFFIXES)}
    classes = sorted({parts[-2] for parts in images.values() if len(parts) >= 3})
    splits = {}
    for part in ("train", "test"):
        chosen = [name for name, parts in sorted(images.items()) if len(parts) >= 3 and parts[-3] == part]
        if not chosen:
            raise DataError(f"{source} has no images in {part}/<class>/")
        splits[part] = decode_all([(classes.index(images[n][-2]), members[n], n) for n in chosen], 32)
    return splits


def _records(raw: bytes, source: Path) -> Split:
    """The official binary format: one label byte, then 3 x 32 x 32 colour planes."""
    if len(raw) % 3073:
        raise DataError(f"{source} is damaged: a batch is not a whole number of 3073-byte records")
    records = np.frombuffer(raw, np.uint8).reshape(-1, 3073)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images), records[:, 0].astype(np.int64))


def _folder_bytes(folder: Path) -> Mapping[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def _tar_bytes(path: Path) -> Mapping[str, bytes]:
    """The files of a tar archive, in memory; nothing is written to disk."""
    try:
        with tarfile.open(path) as archive:
            return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
    except (OSError, EOFError, tarfile.TarError) as e:
        raise DataError(f"{path} is not a complete tar archive ({e}); fetch it again") from None

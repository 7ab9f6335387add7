"""``cifar10``: CIFAR-10 from its official binary archive, that archive unpacked, or class folders.

The path is ``cifar-10-binary.tar.gz``; or a folder with that archive, with its ``.bin`` files, or with ``train/`` and
``test/`` of one folder a class; or a tar archive of such folders.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from nas.training.datasets import Dataset, Split, cut_holdout, make
from nas.training.sources.archives import tar_files
from nas.training.sources.cache import Pictures, cached
from nas.training.sources.fetch import fetch
from nas.training.sources.folders import ClassFolders, scan
from nas.training.sources.images import decode, decode_all, is_picture
from nas.training.sources.wanted import DataError, DataFacts, Source, Wanted, holdout_of
from nas_runtime.console import counted

__all__ = ["SOURCE", "load", "look", "read"]

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as that page gives it
SIZE_BYTES = 170_052_171

IMAGES = {"train": 50000, "test": 10000}
# in the order of the labels, which is also that of the alphabet
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PX = 32
_HOLDOUT = 5000
_BATCHES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_RECORD_BYTES = 1 + 3 * _PX * _PX


def look(wanted: Wanted) -> DataFacts:
    """The class names are the official ones, or those of folders; those in an archive are not known yet."""
    source, class_names = _source(wanted), CLASS_NAMES
    if source and _has_folders(source):
        folders = _class_folders(source)
        class_names = tuple(sorted(folders["train"].files))
        for part, by_class in folders.items():
            _check_count(source, part, by_class.images)
    held = holdout_of(wanted, IMAGES["train"], _HOLDOUT)
    return DataFacts(
        name=wanted.name,
        resolution_px=_PX,
        channels=3,
        class_names=class_names,
        train_images=IMAGES["train"] - held,
        holdout_images=held,
        test_images=IMAGES["test"],
    )


def load(wanted: Wanted) -> Dataset:
    source = _source(wanted)
    if source is None:
        assert wanted.path is not None
        source = wanted.path / URL.rsplit("/", 1)[1]
        fetch(URL, source, size_bytes=SIZE_BYTES, right=_is_right, whose="CIFAR-10's")
    files = (source,) if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    pictures = cached(source, "cifar10", files, lambda: read(source))
    for part in IMAGES:
        _check_count(source, part, len(getattr(pictures, part)))
    held = holdout_of(wanted, IMAGES["train"], _HOLDOUT)
    train, holdout = cut_holdout(pictures.train, held, rng_seed=0, reuse=True)
    names = pictures.class_names
    return make(wanted.name, train=train, holdout=holdout, test=pictures.test, classes=len(names), class_names=names)


def _source(wanted: Wanted) -> Path | None:
    """The file or folder that holds the images; None: it is to be fetched.

    Raises:
        DataError: there is none, or there are several.
    """
    if wanted.download and wanted.path is not None and not wanted.path.exists():
        return None
    path = wanted.given_path()
    if path.is_file() or _has_folders(path) or (path / "data_batch_1.bin").exists():
        return path
    if (path / "cifar-10-batches-bin").is_dir():
        return path / "cifar-10-batches-bin"
    archives = sorted(p for p in path.iterdir() if p.name.endswith((".tar.gz", ".tgz", ".tar")))
    if len(archives) == 1:
        return archives[0]
    if wanted.download and not archives:
        return None
    has = f"{len(archives)} archives" if archives else "none of these"
    raise DataError(
        f"{path} must have train/ and test/ folders, data_batch_1.bin, or one tar archive of them; it has {has}"
    )


def _check_count(source: Path, part: str, images: int) -> None:
    if images != IMAGES[part]:
        raise DataError(f"{source} has {counted(images, f'{part} image')}; CIFAR-10 has {IMAGES[part]:,}")


def _has_folders(source: Path) -> bool:
    return (source / "train").is_dir()


def _is_right(path: Path) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == MD5


def read(source: Path) -> Pictures:
    """The images in a file or folder, however many there are."""
    if source.is_dir() and _has_folders(source):
        return _of_folders(_class_folders(source))
    return _sorted_out(_bin_files(source) if source.is_dir() else tar_files(source), source)


def _class_folders(source: Path) -> dict[str, ClassFolders]:
    if not (source / "test").is_dir():
        raise DataError(f"{source} must have train/ and test/ with one folder of images a class")
    parts = {part: scan(source / part) for part in IMAGES}
    _check_classes({part: its.files for part, its in parts.items()}, source)
    return parts


def _of_folders(folders: Mapping[str, ClassFolders]) -> Pictures:
    classes = sorted(folders["train"].files)
    splits = {}
    for part, own in folders.items():
        labels = np.repeat(np.arange(len(classes)), [len(own.files.get(name, ())) for name in classes])
        images = decode_all([file for name in classes for file in own.files.get(name, ())], _PX)
        splits[part] = Split(images, labels.astype(np.int64))
    return Pictures(**splits, class_names=tuple(classes))


def _check_classes(parts: Mapping[str, Mapping[str, object]], source: Path) -> None:
    if extra := set(parts["test"]) - set(parts["train"]):
        raise DataError(f"{source}: test/ has the class {min(extra)!r}, which train/ lacks")


def _bin_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the binary batches in `folder`."""
    for name in (name for names in _BATCHES.values() for name in names):
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                yield name, file.read(IMAGES["train"] * _RECORD_BYTES)


def _sorted_out(files: Iterable[tuple[str, bytes]], source: Path) -> Pictures:
    """What is in `files`: binary batches, or else pictures in ``train/<class>/`` and ``test/<class>/``."""
    batches: dict[str, bytes] = {}
    pictures: dict[str, dict[str, dict[str, np.ndarray]]] = {part: {} for part in IMAGES}
    for name, content in files:
        path = PurePosixPath(name)
        if path.name in (*_BATCHES["train"], *_BATCHES["test"]):
            batches[path.name] = content
        elif path.name == "data_batch_1":
            raise DataError(f"{source} is the Python version, which holds pickles; use cifar-10-binary.tar.gz")
        elif len(path.parts) >= 3 and path.parts[-3] in pictures and is_picture(path.name):
            of_class = pictures[path.parts[-3]].setdefault(path.parts[-2], {})
            of_class[name] = decode(io.BytesIO(content), f"{name} in {source}", _PX)
    if batches:
        splits = {part: _records([_batch(batches, name, source) for name in _BATCHES[part]]) for part in IMAGES}
        return Pictures(**splits, class_names=CLASS_NAMES)
    for part, by_class in pictures.items():
        if not by_class:
            raise DataError(f"{source} has no images in {part}/<class>/")
    return _of_classes(pictures, source)


def _of_classes(pictures: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]], source: Path) -> Pictures:
    """The pictures by part, class and file name as arrays, classes and files in the order of their names."""
    classes = sorted(pictures["train"])
    _check_classes(pictures, source)
    splits = {}
    for part, by_class in pictures.items():
        images = [by_class[name][file] for name in classes if name in by_class for file in sorted(by_class[name])]
        labels = [label for label, name in enumerate(classes) for _ in by_class.get(name, ())]
        splits[part] = Split(np.stack(images), np.array(labels, np.int64))
    return Pictures(**splits, class_names=tuple(classes))


def _batch(batches: Mapping[str, bytes], name: str, source: Path) -> bytes:
    if name not in batches:
        raise DataError(f"{source} has no {name}")
    if not batches[name] or len(batches[name]) % _RECORD_BYTES:
        raise DataError(f"{source} is damaged: {name} is not a whole number of {_RECORD_BYTES}-byte records")
    return batches[name]


def _records(batches: Sequence[bytes]) -> Split:
    """The official binary format: one label byte, then 3 x 32 x 32 colour planes."""
    records = np.frombuffer(b"".join(batches), np.uint8).reshape(-1, _RECORD_BYTES)
    images = records[:, 1:].reshape(-1, 3, _PX, _PX).transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images), records[:, 0].astype(np.int64))


SOURCE = Source(look=look, load=load, downloads=True)

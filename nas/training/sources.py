"""Data sets by name: where their files are, and how they become a `Dataset`.

Nothing is downloaded unless asked for. What takes long to read (thousands of image files) is kept as one array file in
the user's cache folder.
"""

import gzip
import hashlib
import io
import os
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from nas.training.datasets import Dataset, Split, cut_holdout, make
from nas_runtime.files import complete, write_bytes

__all__ = ["DataError", "cache_dir", "cifar10", "fashion_mnist", "fashion_mnist_mini", "image_folder", "load", "names"]

MINI = Path(__file__).parent / "data" / "fashion_mnist_mini.npz"

FASHION_MNIST_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
# of the uncompressed IDX files, so that any recompression (Debian's, say) is recognised
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as that page gives it

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class DataError(ValueError):
    """A data set that is not there, not complete, or not what it should be."""


def names() -> tuple[str, ...]:
    return ("fashion_mnist_mini", "fashion_mnist", "cifar10", "image_folder")


def load(
    name: str,
    *,
    path: Path | None = None,
    train_images: int | None = None,
    holdout_images: int | None = None,
    resolution_px: int | None = None,
    download: bool = False,
) -> Dataset:
    """The data set `name`.

    Args:
        path: its file or folder; not for ``fashion_mnist_mini``, which is part of the package.
        train_images: train on this many images only, drawn at random; None: all.
        holdout_images: size of the holdout, cut from the training images; None: the data set's own default.
        resolution_px: images are resized to it; None: as they are (``image_folder``: 64).
        download: fetch ``fashion_mnist`` or ``cifar10`` to the folder `path` if it is not there.

    Raises:
        DataError: what is wrong with the files, and what is expected.
    """
    if download and name not in ("fashion_mnist", "cifar10"):
        raise DataError(f"dataset.download=true: fashion_mnist and cifar10 can be downloaded, {name} cannot")
    if name == "fashion_mnist_mini":
        data = fashion_mnist_mini(holdout_images=holdout_images)
    elif name == "fashion_mnist":
        data = fashion_mnist(path, holdout_images=holdout_images or 5000, download=download)
    elif name == "cifar10":
        if download and path is not None and not (path.exists() and (path.is_file() or _has_files(path))):
            _download_cifar10(path)
        data = cifar10(_given(name, path), holdout_images=holdout_images or 5000)
    elif name == "image_folder":
        folder = _given(name, path)
        data = image_folder(folder, resolution_px=resolution_px or 64, holdout_images=holdout_images)
    else:
        raise DataError(f"no data set {name!r}; there are: {', '.join(names())}")
    data = data if train_images is None else _fewer(data, train_images)
    return data if resolution_px is None else _resized(data, resolution_px)


def fashion_mnist_mini(*, holdout_images: int | None = None) -> Dataset:
    """The part of Fashion-MNIST that is embedded in the package (``experiments/make_fashion_mnist_mini.py``)."""
    try:
        with MINI.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as e:
        raise DataError(f"the embedded data set {MINI} cannot be read ({e}); install the package again") from None
    parts = {
        part: Split(arrays[f"{part}_images"][..., None], arrays[f"{part}_labels"].astype(np.int64))
        for part in ("train", "holdout", "test")
    }
    if holdout_images is not None:
        available = len(parts["holdout"])
        if not 0 < holdout_images <= available:
            raise DataError(f"holdout_images is {holdout_images}; fashion_mnist_mini has {available}")
        holdout = parts["holdout"]
        parts["holdout"] = Split(holdout.images[:holdout_images], holdout.labels[:holdout_images])
    train, holdout, test = parts["train"], parts["holdout"], parts["test"]
    return make("fashion_mnist_mini", train=train, holdout=holdout, test=test, classes=10)


def fashion_mnist(path: Path | None, *, holdout_images: int = 5000, download: bool = False) -> Dataset:
    """Fashion-MNIST (arXiv:1708.07747) from its four IDX files, gzipped or not.

    Args:
        path: their folder; None: where Debian's package ``dataset-fashion-mnist`` puts them.
    """
    folder = path or DEBIAN_FASHION_MNIST
    if download and not (folder / "train-images-idx3-ubyte.gz").exists():
        _download_fashion_mnist(folder)
    arrays = [_read_idx(folder, name) for name in FASHION_MNIST_SHA256]
    both = Split(arrays[0][..., None], arrays[1].astype(np.int64))
    test = Split(arrays[2][..., None], arrays[3].astype(np.int64))
    train, holdout = cut_holdout(both, holdout_images, rng_seed=0)
    return make("fashion_mnist", train=train, holdout=holdout, test=test, classes=10)


def cifar10(path: Path, *, holdout_images: int = 5000) -> Dataset:
    """CIFAR-10 from its official binary archive, that archive unpacked, or class folders.

    Args:
        path: ``cifar-10-binary.tar.gz``; or a folder with that archive, with its ``.bin`` files, or with ``train/`` and
            ``test/`` of one folder a class; or a tar archive of such folders.
    """
    source = _cifar10_source(path)
    splits = _cached(source, "cifar10", lambda: _read_cifar10(source))
    for part, expected in (("train", 50000), ("test", 10000)):
        if len(splits[part]) != expected:
            raise DataError(f"{source} has {len(splits[part])} {part} images; CIFAR-10 has {expected}")
    train, holdout = cut_holdout(splits["train"], holdout_images, rng_seed=0)
    return make("cifar10", train=train, holdout=holdout, test=splits["test"], classes=10)


def image_folder(path: Path, *, resolution_px: int, holdout_images: int | None = None) -> Dataset:
    """Images in ``train/<class>/`` and ``test/<class>/`` (or ``val/``), of any size.

    Each image is resized once, shorter side to `resolution_px`, and cropped to its centre. The holdout is a tenth of
    the training images unless given.
    """
    folder = Path(path)
    test = next((folder / name for name in ("test", "val") if (folder / name).is_dir()), None)
    if not (folder / "train").is_dir() or test is None:
        raise DataError(f"{folder} must have train/ and test/ (or val/) with one folder of images a class")
    files = {"train": _class_files(folder / "train"), "test": _class_files(test)}
    classes = sorted(files["train"])
    if extra := set(files["test"]) - set(classes):
        raise DataError(f"{test} has the class {min(extra)!r}, which {folder / 'train'} lacks")

    def read() -> dict[str, Split]:
        return {
            part: _decode_all(
                [(classes.index(c), p.read_bytes(), str(p)) for c in sorted(f) for p in f[c]], resolution_px
            )
            for part, f in files.items()
        }

    splits = _cached(folder, f"image_folder-{resolution_px}px", read)
    n = holdout_images or max(1, len(splits["train"]) // 10)
    train, holdout = cut_holdout(splits["train"], n, rng_seed=0)
    return make("image_folder", train=train, holdout=holdout, test=splits["test"], classes=len(classes))


def _given(name: str, path: Path | None) -> Path:
    if path is None:
        raise DataError(f"data set {name!r} needs dataset.path=..., the folder or archive with its files")
    if not path.exists():
        fetch = "; dataset.download=true fetches it" if name == "cifar10" else ""
        raise DataError(f"dataset.path={path}: there is no such file or folder{fetch}")
    return path


def _fewer(data: Dataset, n: int) -> Dataset:
    if not 0 < n <= len(data.train):
        raise DataError(f"dataset.train_images={n}: allowed are 1 to {len(data.train)}, all that {data.name} has")
    if n == len(data.train):
        return data
    _, train = cut_holdout(data.train, n, rng_seed=1)
    return make(data.name, train=train, holdout=data.holdout, test=data.test, classes=data.classes, flip=data.flip)


def _resized(data: Dataset, px: int) -> Dataset:
    if px == data.resolution_px:
        return data
    if px < 8:
        raise DataError(f"dataset.resolution_px={px}: allowed are 8 or more")

    def resized(split: Split) -> Split:
        from PIL import Image

        images = np.empty((len(split), px, px, data.channels), np.uint8)
        for i, image in enumerate(split.images):
            small = Image.fromarray(image[..., 0] if data.channels == 1 else image).resize((px, px))
            images[i] = np.asarray(small).reshape(px, px, data.channels)
        return Split(images, split.labels)

    train, holdout, test = map(resized, (data.train, data.holdout, data.test))
    return make(data.name, train=train, holdout=holdout, test=test, classes=data.classes, flip=data.flip)


def _read_idx(folder: Path, name: str) -> np.ndarray:
    """One IDX file, checked against its checksum."""
    plain, zipped = folder / name, folder / f"{name}.gz"
    try:
        raw = gzip.decompress(zipped.read_bytes()) if zipped.exists() else plain.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{zipped} is missing; set dataset.path to a folder with the four IDX files, add dataset.download=true, "
            "or install Debian's dataset-fashion-mnist"
        ) from None
    except (OSError, EOFError) as e:
        raise DataError(f"{zipped} is damaged ({e}); fetch it again") from None
    if hashlib.sha256(raw).hexdigest() != FASHION_MNIST_SHA256[name]:
        raise DataError(f"{zipped if zipped.exists() else plain} is not Fashion-MNIST's (its checksum differs)")
    dims = raw[3]
    shape = np.frombuffer(raw, ">u4", dims, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)


def _download_fashion_mnist(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, expected in FASHION_MNIST_SHA256.items():
        sha256 = partial(_sha256_of_gzipped, expected=expected)
        _fetch(f"{FASHION_MNIST_URL}/{name}.gz", folder / f"{name}.gz", sha256, "Fashion-MNIST's")


def _sha256_of_gzipped(content: bytes, *, expected: str) -> bool:
    return hashlib.sha256(gzip.decompress(content)).hexdigest() == expected


def _has_files(folder: Path) -> bool:
    """Whether it holds anything but downloads that were cut off."""
    return any(not path.name.endswith(".partial") for path in folder.iterdir())


def _download_cifar10(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    def right(content: bytes) -> bool:
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == CIFAR10_MD5

    _fetch(CIFAR10_URL, folder / CIFAR10_URL.rsplit("/", 1)[1], right, "CIFAR-10's")


def _fetch(url: str, path: Path, right: Callable[[bytes], bool], whose: str) -> None:
    """Writes what `url` gives to `path`, complete and checked, or not at all."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            content = response.read()
        ok = right(content)
    except (OSError, EOFError) as e:
        raise DataError(f"{url} could not be fetched ({e}); put the file into {path.parent} by hand") from None
    if not ok:
        raise DataError(f"{url} gave another file than {whose} (its checksum differs)")
    write_bytes(path, content)


def _cifar10_source(path: Path) -> Path:
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


def _read_cifar10(source: Path) -> dict[str, Split]:
    if source.is_dir() and (source / "train").is_dir():
        files = {part: _class_files(source / part) for part in ("train", "test")}
        classes = sorted(files["train"])
        items = {
            part: [(classes.index(c), p.read_bytes(), str(p)) for c in classes for p in f.get(c, [])]
            for part, f in files.items()
        }
        return {part: _decode_all(found, 32) for part, found in items.items()}
    members = _folder_bytes(source) if source.is_dir() else _tar_bytes(source)
    binary = {Path(name).name: raw for name, raw in members.items() if name.endswith(".bin")}
    if binary:
        batches = [f"data_batch_{i}.bin" for i in range(1, 6)]
        if missing := [name for name in (*batches, "test_batch.bin") if name not in binary]:
            raise DataError(f"{source} has no {missing[0]}")
        train = _cifar10_records(b"".join(binary[name] for name in batches), source)
        return {"train": train, "test": _cifar10_records(binary["test_batch.bin"], source)}
    if any("data_batch_1" in name for name in members):
        raise DataError(f"{source} is the Python version, which holds pickles; use cifar-10-binary.tar.gz")
    images = {name: Path(name).parts for name in members if name.lower().endswith(_IMAGE_SUFFIXES)}
    classes = sorted({parts[-2] for parts in images.values() if len(parts) >= 3})
    splits = {}
    for part in ("train", "test"):
        chosen = [name for name, parts in sorted(images.items()) if len(parts) >= 3 and parts[-3] == part]
        if not chosen:
            raise DataError(f"{source} has no images in {part}/<class>/")
        splits[part] = _decode_all([(classes.index(images[n][-2]), members[n], n) for n in chosen], 32)
    return splits


def _cifar10_records(raw: bytes, source: Path) -> Split:
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


def _class_files(folder: Path) -> dict[str, list[Path]]:
    found = {
        child.name: sorted(p for p in child.iterdir() if p.suffix.lower() in _IMAGE_SUFFIXES)
        for child in sorted(folder.iterdir())
        if child.is_dir()
    }
    if not any(found.values()):
        raise DataError(f"{folder} has no images in folders of classes")
    return found


def _decode_all(items: list[tuple[int, bytes, str]], resolution_px: int) -> Split:
    """Colour images, resized so that the shorter side is resolution_px, cropped to the centre."""
    from PIL import Image, UnidentifiedImageError

    images = np.empty((len(items), resolution_px, resolution_px, 3), np.uint8)
    for i, (_, raw, name) in enumerate(items):
        try:
            image = Image.open(io.BytesIO(raw)).convert("RGB")
        except (UnidentifiedImageError, OSError) as e:
            raise DataError(f"{name} is not a readable image ({e})") from None
        if image.size != (resolution_px, resolution_px):
            scale = resolution_px / min(image.size)
            image = image.resize([max(resolution_px, round(side * scale)) for side in image.size])  # type: ignore[arg-type]
            left, top = ((side - resolution_px) // 2 for side in image.size)
            image = image.crop((left, top, left + resolution_px, top + resolution_px))
        images[i] = np.asarray(image)
    return Split(images, np.array([label for label, _, _ in items], np.int64))


def cache_dir() -> Path:
    """The project's folder among the user's caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "platform-aware-nas"


def _cached(source: Path, kind: str, read: Callable[[], dict[str, Split]]) -> dict[str, Split]:
    """`read()`, kept in the user's cache folder under the path, size and time of `source`."""
    stamp = source.resolve()
    files = sorted(p for p in source.rglob("*") if p.is_dir()) if source.is_dir() else [source]
    seen = "|".join(f"{p}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in (source, *files))
    name = hashlib.sha256(f"{kind}|{stamp}|{seen}".encode()).hexdigest()[:16]
    path = cache_dir() / f"{kind}-{name}.npz"
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {part: Split(file[f"{part}_images"], file[f"{part}_labels"]) for part in ("train", "test")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # not cached yet, or the cache is damaged: read the source
    splits = read()
    try:
        with complete(path) as partial, partial.open("wb") as file:
            np.savez(file, **{f"{p}_{f}": getattr(s, f) for p, s in splits.items() for f in ("images", "labels")})
    except OSError:
        pass  # a cache that cannot be written only costs time
    return splits

"""What takes long to read is kept, as one file of arrays."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.training.datasets import Split
from nas.training.sources.archives import ArchiveError, read_npz
from nas_runtime.files import complete

__all__ = ["Pictures", "cache_dir", "cached"]

_FORMAT = 2
"""Of the file, and of how pictures are decoded: what another version kept is read anew."""
_CHECKOUT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What a source holds: all its training images, and its test images."""

    train: Split
    test: Split
    class_names: tuple[str, ...]


def cache_dir() -> Path:
    """Where the project keeps what takes long to make: a folder in ``XDG_CACHE_HOME`` where that is set, else in
    ``.cache`` of a checkout, else in ``~/.cache``."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # the XDG specification: a relative one is ignored
        base = (_CHECKOUT if (_CHECKOUT / "pyproject.toml").exists() else Path.home()) / ".cache"
    return base / "platform-aware-nas"


def cached(source: Path, kind: str, files: Iterable[Path], read: Callable[[], Pictures]) -> Pictures:
    """`read()`, kept in the cache for as long as the `files` of `source` are the same by name, size and time.

    There is one file for each source and kind: it is replaced when the source has changed.
    """
    its = _identity(files)
    name = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:16]
    path = cache_dir() / f"{kind}-{name}.npz"
    with contextlib.suppress(OSError, ArchiveError, ValueError, KeyError):  # not kept yet, or damaged
        kept = _unpacked(read_npz(path, most_bytes=path.stat().st_size))
        if kept[0] == its:
            return kept[1]
    pictures = read()
    with (
        contextlib.suppress(OSError),  # a cache that cannot be written only costs time
        complete(path) as partial,
        partial.open("wb") as file,
    ):
        np.savez(file, **_packed(its, pictures))
    return pictures


def _identity(files: Iterable[Path]) -> bytes:
    """What stands for the files: another where one of them was added, removed or changed."""
    digest = hashlib.sha256(f"{_FORMAT}".encode())
    for file in files:
        at = file.stat()
        digest.update(os.fsencode(file.absolute()) + f"\0{at.st_size}\0{at.st_mtime_ns}\0".encode())
    return digest.digest()


def _packed(identity: bytes, pictures: Pictures) -> dict[str, Any]:
    return {
        "identity": np.frombuffer(identity, np.uint8),
        "class_names": np.array(pictures.class_names),
        **{
            f"{part}_{what}": getattr(getattr(pictures, part), what)
            for part in ("train", "test")
            for what in ("images", "labels")
        },
    }


def _unpacked(arrays: dict[str, np.ndarray]) -> tuple[bytes, Pictures]:
    parts = {part: Split(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test")}
    names = tuple(arrays["class_names"].tolist())
    return arrays["identity"].tobytes(), Pictures(**parts, class_names=names)

"""What was made of pictures is kept in files that are mapped into memory: nothing is there twice, and however many they
are, they take no memory that is needed for something else.

A file's name says what it was made of: it is made anew when that has changed, and takes the place of what was there.
"""

import contextlib
import errno
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latency_luts.progress import bars
from nas.training.sources.wanted import DataError
from nas_runtime.files import complete, remove_left_behind

__all__ = ["Store", "UnreadableError", "array", "each", "free_bytes", "mapped", "written"]

_IN_MEMORY = 2**31
"""Bytes of an array that, where it cannot be kept, is made in memory."""
_AT_ONCE = 64
"""Pictures."""
_SHOWN_FROM = 500
"""Pictures to be decoded from which a bar shows how far it is."""
_COUNT = struct.Struct("<Q")

Kind = type[np.generic]
Pieces = Iterable[np.ndarray]


class UnreadableError(Exception):
    """Pictures that looked well and could not be decoded: their places, and why."""

    def __init__(self, bad: dict[int, str]) -> None:
        super().__init__(bad)
        self.bad = bad


def each(places: np.ndarray, work: Callable[[int], np.ndarray], doing: str) -> Iterator[np.ndarray]:
    """What `work` makes of each place, in their order, by a thread a CPU.

    Raises:
        UnreadableError: `work` raised `DataError`; when all others are done.
    """

    def safely(place: int) -> np.ndarray | str:
        try:
            return work(place)
        except DataError as e:
            return str(e)

    bad: dict[int, str] = {}
    with bars(len(places) >= _SHOWN_FROM) as bar, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        bar(doing, len(places))
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE].tolist()
            for place, made in zip(some, pool.map(safely, some), strict=True):
                if isinstance(made, str):
                    bad[place] = made
                else:
                    yield made
            bar("", len(some))
    if bad:
        raise UnreadableError(bad)


def array(path: Path, key: str, shape: tuple[int, ...], dtype: Kind, make: Callable[[], Pieces]) -> np.ndarray:
    """An array that is kept, as `written` keeps it, or, where it cannot be kept and is not too large, in memory.

    Raises:
        DataError: it is too large.
        Exception: what `make` raises.
    """
    if (kept := written(path, key, shape, dtype, make)) is not None:
        return kept
    size = _bytes(shape, dtype)
    if size > _IN_MEMORY:
        raise DataError(
            f"{path.parent} has no room for {size / 1e9:.1f} GB of decoded images; set XDG_CACHE_HOME to a folder that "
            "has, or take fewer: dataset.train_images="
        )
    return np.concatenate([np.asarray(piece, dtype).ravel() for piece in make()]).reshape(shape)


def written(path: Path, key: str, shape: tuple[int, ...], dtype: Kind, make: Callable[[], Pieces]) -> np.ndarray | None:
    """An array that is kept and mapped: writing to it changes nothing in the file. None: it cannot be written.

    Args:
        path: of the file, but for the key; what was kept there before is removed.
        make: its pieces, one behind the other.

    Raises:
        Exception: what `make` raises.
    """
    if (kept := mapped(path, key, dtype)) is not None and kept.shape == shape:
        return kept
    file = path.with_name(f"{path.name}-{key}.npy")
    try:
        check_room(file.parent, _bytes(shape, dtype))
        with complete(file) as partial, partial.open("wb") as out:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, header)
            for piece in make():
                out.write(np.ascontiguousarray(piece, dtype).data)
    except OSError:
        return None
    _remove_others(path, file)
    return mapped(path, key, dtype)


def _bytes(shape: tuple[int, ...], dtype: Kind) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def mapped(path: Path, key: str, dtype: Kind) -> np.ndarray | None:
    """What `written` keeps at `path` by this key; None: nothing."""
    with contextlib.suppress(OSError, ValueError, EOFError):
        found = np.lib.format.open_memmap(path.with_name(f"{path.name}-{key}.npy"), mode="c")
        if found.dtype == dtype:
            return np.asarray(found)
    return None


def check_room(folder: Path, size: int) -> None:
    """
    Raises:
        OSError: `folder` has no room for `size` bytes.
    """
    if size > free_bytes(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def free_bytes(folder: Path) -> int:
    """Where `folder` is, or will be."""
    at = next(each for each in (folder, *folder.parents) if each.exists())
    about = os.statvfs(at)
    return about.f_bavail * about.f_frsize


def _remove_others(path: Path, file: Path) -> None:
    """Removes what was kept at `path` before `file`, or was not finished."""
    for old in path.parent.glob(f"{path.name}-*{file.suffix}"):
        if old != file and len(old.name) == len(file.name):
            with contextlib.suppress(OSError):
                old.unlink()
    remove_left_behind(path.parent, f"{path.name}-*{file.suffix}")


@dataclass(frozen=True)
class Store:
    """Pictures of any size, kept: their pixels one behind the other, then for each where it begins, height and width.

    Attributes:
        pixels: (bytes,) uint8, mapped.
        table: (N, 3) uint64.
    """

    pixels: np.ndarray
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    def read(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        start, height, width = self.table[number].tolist()
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)

    @staticmethod
    def opened(path: Path, key: str) -> "Store | None":
        """What is kept at `path` by this key; None: nothing."""
        file = path.with_name(f"{path.name}-{key}.pixels")
        with contextlib.suppress(OSError, ValueError, IndexError, struct.error):
            whole = np.asarray(np.memmap(file, np.uint8, "c"))
            (count,) = _COUNT.unpack(whole[-_COUNT.size :].tobytes())
            table = whole[-_COUNT.size - 24 * count : -_COUNT.size].view("<u8").reshape(count, 3)
            start, height, width = table[-1].tolist()
            end = start + height * width * 3
            if end + -end % 8 + table.nbytes + _COUNT.size == len(whole):
                return Store(whole, table)
        return None

    @staticmethod
    def made(path: Path, key: str, size: int, images: Callable[[], Iterable[np.ndarray]]) -> "Store | None":
        """The same, made of `images`, about `size` bytes; None: it cannot be written."""
        file = path.with_name(f"{path.name}-{key}.pixels")
        table: list[Sequence[int]] = []
        start = 0
        try:
            check_room(file.parent, size)
            with complete(file) as partial, partial.open("wb") as out:
                for image in images():
                    out.write(np.ascontiguousarray(image).data)
                    table.append((start, *image.shape[:2]))
                    start += image.size
                out.write(bytes(-start % 8))
                out.write(np.array(table, "<u8").tobytes() + _COUNT.pack(len(table)))
        except OSError:
            return None
        _remove_others(path, file)
        return Store.opened(path, key)

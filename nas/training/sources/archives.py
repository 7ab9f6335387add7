"""Archives, read within bounds: what is packed can be a thousand times as large as the file.

Nothing is ever unpacked to disk, so that names such as ``../x`` and links are only names.
"""

import bz2
import gzip
import io
import lzma
import math
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nas.training.sources.wanted import DataError

__all__ = ["ArchiveError", "read_gzip", "read_npz", "tar_files"]

_MOST_MEMBERS = 200_000
_MOST_MEMBER_BYTES = 2**26
_MOST_BYTES = 2**30
_PACKERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # by the first two bytes of their files
_DAMAGE = (
    *(OSError, EOFError, ValueError, RuntimeError, MemoryError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


class ArchiveError(DataError):
    """An archive that is damaged, or larger than it may be."""


def read_gzip(path: Path, *, most_bytes: int) -> bytes:
    """What the gzip file `path` holds.

    Raises:
        ArchiveError: it is damaged, or holds more than `most_bytes`.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(most_bytes + 1)
    except _DAMAGE as e:
        raise ArchiveError(f"{path} is damaged ({e}); fetch it again") from None
    if len(content) > most_bytes:
        raise ArchiveError(f"{path} holds more than the {most_bytes:,} bytes that it should")
    return content


def tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each regular file in a tar archive, packed or not, one after the other.

    Raises:
        ArchiveError: it is damaged, or holds more than 200,000 files, 1 GiB in all, or 64 MiB in one.
    """
    try:
        with _Bounded(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for number, member in enumerate(archive):
                if number == _MOST_MEMBERS:
                    raise ArchiveError(f"{path} has more than {_MOST_MEMBERS:,} files, the most that are read")
                if member.size > _MOST_MEMBER_BYTES:
                    most = f"{_MOST_MEMBER_BYTES / 2**20:.0f} MiB"
                    raise ArchiveError(f"{path}: {member.name[:80]} is larger than {most}, the most that is read")
                if member.isfile() and (content := archive.extractfile(member)):
                    yield member.name, content.read()
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
    except ArchiveError:
        raise
    except _DAMAGE as e:
        raise ArchiveError(f"{path} is not a complete tar archive ({e}); fetch it again") from None


class _Bounded(io.BufferedIOBase):
    """A file, unpacked if it is packed, of which only so many bytes are read, and only so many at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as raw:
            start = raw.read(2)
        self._file: Any = _PACKERS.get(start, open)(path, "rb")

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MOST_MEMBER_BYTES:
            raise ArchiveError(f"{self._path} has a header that is too large")
        return self._file.read(self._checked(self.tell() + size) - self.tell())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(self._checked(offset), whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()

    def _checked(self, end: int) -> int:
        if end > _MOST_BYTES:
            raise ArchiveError(f"{self._path} holds more than {_MOST_BYTES / 2**30:.0f} GiB, the most that is read")
        return end


def read_npz(path: Path, *, most_bytes: int) -> dict[str, np.ndarray]:
    """The arrays in the file `path`.

    Raises:
        FileNotFoundError: there is no such file.
        ArchiveError: it is damaged, or its arrays take more than `most_bytes`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > most_bytes:
                raise ArchiveError(f"{path} holds more than the {most_bytes:,} bytes that it should")
            return {member.filename.removesuffix(".npy"): _read_npy(archive, member) for member in archive.infolist()}
    except (ArchiveError, FileNotFoundError):
        raise
    except _DAMAGE as e:
        raise ArchiveError(f"{path} is damaged ({e})") from None


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array; its header must not promise more than there is."""
    with archive.open(member) as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} is shorter than its header says")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)

"""The index of a data set of many pictures: a file that is mapped into memory, of which a million take no more than a
hundred.

Layout: a row for each picture (`ROW`), the names of all one behind the other, what else is known as JSON, the length of
that, and `_MAGIC`.
"""

import contextlib
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nas_runtime.files import complete

__all__ = ["AT_ONCE", "ROW", "About", "Index", "opened", "written"]

ROW = np.dtype(
    [
        *(("end", "<u8"), ("bytes", "<u8"), ("time", "<i8"), ("offset", "<u8"), ("hash", "<u8")),
        *(("file", "<u4"), ("label", "<u4"), ("width", "<u4"), ("height", "<u4")),
        *(("group", "u1"), ("readable", "?")),
    ]
)
"""Where its name ends; size and time of its file; where it begins in an archive; of its name; which archive; class;
pixels as they are in the file; which of `About.groups`; whether it can be read."""
AT_ONCE = 2**14
"""Rows that are worked on at once."""
_MAGIC = b"pictures-index-1"
_CONTENT = ("group", "bytes", "readable")
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of all pictures together.

    Attributes:
        groups: what they are divided into: ``train``, ``test``.
        class_names: by label.
        files: archives, by number; none where each picture has a file of its own.
        notes: what was left out, a sentence each.
        stamp: equal for as long as a listing would give the same; empty: only listing tells.
        content: stands for names, sizes and classes of all that can be read: equal for a copy of the files.
        state: the same with times: another when a file was written again. Tells whether what was made of the pictures
            still holds; `content`, whether two machines have the same ones.
    """

    groups: Sequence[str]
    class_names: Sequence[str]
    files: Sequence[str]
    notes: Sequence[str]
    stamp: str = ""
    content: str = ""
    state: str = ""


@dataclass(frozen=True)
class Index:
    """An open index.

    Attributes:
        rows: (N,) of `ROW`, mapped.
        names: of all pictures, mapped: (bytes,) uint8.
    """

    rows: np.ndarray
    names: np.ndarray
    about: About

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, place: int) -> str:
        """That of the picture in its group."""
        start = int(self.rows["end"][place - 1]) if place else 0
        return os.fsdecode(self.names[start : int(self.rows["end"][place])].tobytes())

    def digest(self, *fields: str) -> str:
        """Of all names and classes, and of these fields of all rows."""
        found = hashlib.sha256(repr(list(self.about.class_names)).encode())
        found.update(np.ascontiguousarray(self.names).data)
        for start in range(0, len(self), AT_ONCE):
            for field in ("end", "label", *fields):
                found.update(np.ascontiguousarray(self.rows[field][start : start + AT_ONCE]).data)
        return found.hexdigest()


def opened(path: Path) -> Index | None:
    """The index in the file `path`; None if there is none, or it is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, struct.error), path.open("rb") as file:
        return _mapped(file)
    return None


def written(path: Path, fill: Callable[[BinaryIO, BinaryIO], About], then: Callable[[Index], Sequence[str]]) -> Index:
    """A new index in the file `path`, complete or unchanged; where that cannot be written, in a file without a name.

    Args:
        fill: writes rows to the first file and names to the second, as bytes.
        then: works on the rows, and gives notes on top of those that there are.
    """
    with tempfile.TemporaryFile() as names, _target(path) as file:
        about = fill(file, names)
        rows_end = file.tell()
        names.seek(0)
        while piece := names.read(2**20):
            file.write(piece)
        _end(file, rows_end, about)
        draft = _mapped(file, mode="r+")
        about = replace(
            about,
            notes=[*about.notes, *then(draft)],
            content=draft.digest(*_CONTENT),
            state=draft.digest(*_CONTENT, "time"),
        )
        assert isinstance(draft.rows, np.memmap)
        draft.rows.flush()
        file.seek(rows_end + len(draft.names))
        file.truncate()
        _end(file, rows_end, about)
        return _mapped(file)


@contextlib.contextmanager
def _target(path: Path) -> Generator[BinaryIO]:
    """The file that becomes `path`, or one without a name."""
    with contextlib.ExitStack() as stack:
        try:
            partial = stack.enter_context(complete(path))
            file = stack.enter_context(partial.open("w+b"))
        except OSError:
            file = stack.enter_context(tempfile.TemporaryFile())
        yield file


def _end(file: BinaryIO, rows_end: int, about: About) -> None:
    text = json.dumps({"rows": rows_end // ROW.itemsize, **asdict(about)}).encode()
    file.write(text + _LENGTH.pack(len(text)) + _MAGIC)
    file.flush()


def _mapped(file: BinaryIO, mode: str = "r") -> Index:
    """The index in an open file.

    Raises:
        ValueError, struct.error, TypeError: it is none.
    """
    tail = len(_MAGIC) + _LENGTH.size
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - tail))
    length, magic = file.read(_LENGTH.size), file.read()
    if magic != _MAGIC:
        raise ValueError("not an index of this version")
    start = size - tail - _LENGTH.unpack(length)[0]
    file.seek(start)
    said: Mapping[str, object] = json.loads(file.read(size - tail - start))
    count = int(said["rows"])  # type: ignore[call-overload]
    about = About(**{name: value for name, value in said.items() if name != "rows"})  # type: ignore[arg-type]
    names_bytes = start - count * ROW.itemsize
    rows = np.memmap(file, ROW, mode, shape=count)  # type: ignore[call-overload]
    names = np.memmap(file, np.uint8, "r", offset=rows.nbytes, shape=names_bytes)
    return Index(rows, names, about)

"""An append-only file of records, one JSON line each, with a checksum in every line.

A line is on the disk when its record is done, so that nothing evaluated is lost. A last line cut short by a crash is
left out; any other damage is an error that names the line, and the file is left as it is.
"""

import contextlib
import json
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from nas_runtime.files import FileError, parse_json
from nas_runtime.lines import LineFile
from nas_runtime.plain import is_mapping

__all__ = ["JournalError", "Records"]

FORMAT = 1
_BEGIN = b'{"crc32": "'  # of every line


class JournalError(FileError):
    """A file of records that is damaged, or belongs to something else."""


class Records:
    """The records in a file. Reading writes nothing to it.

    Args:
        path: the file; it is created by the first `append`.
        kind: what the first line calls the file, like ``journal``.

    Attributes:
        records: what was read from the file, without what was appended here.

    Raises:
        JournalError: damage in any line but an incomplete last one, or another kind of file.
        FileError: the file cannot be read.
    """

    def __init__(self, path: str | Path, kind: str) -> None:
        self.path, self.kind = Path(path), kind
        self.records: list[dict[str, Any]] = []
        self._file = LineFile(path)
        self._lines = 0
        self._take()

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Inside, nothing else writes to the file. What another writer has added before is in `records`.

        Raises:
            FileError: something else is writing to it.
        """
        with self._file.writing():
            self._take()
            yield

    def append(self, *records: dict[str, Any]) -> None:
        """Writes `records`, which are on the disk then; if one of them cannot be written whole, all are taken back.

        Raises:
            FileError: something else is writing to the file, or has written to it since it was read.
            OSError: no space, or another reason why nothing can be written.
        """
        lines = [_line(record) for record in (records if self._lines else ({self.kind: FORMAT}, *records))]
        self._file.append(*lines)
        self._lines += len(lines)

    def _take(self) -> None:
        """Reads the lines that are new."""
        for raw in self._file.read():
            self._lines += 1
            record = self._record(raw)
            if self._lines > 1:
                self.records.append(record)
            elif record != {self.kind: FORMAT}:
                raise JournalError(
                    f"{self.path} is not a {self.kind} of format {FORMAT}; start again in another run_dir"
                )
        rest = self._file.rest.rstrip(b"\0")  # a crash of the machine may leave zeros
        if not (rest.startswith(_BEGIN) or _BEGIN.startswith(rest)):
            raise self._damage(self._lines + 1)

    def _record(self, raw: bytes) -> dict[str, Any]:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            item = parse_json(raw.decode())
            record = item["record"]
            if is_mapping(record) and item["crc32"] == _checksum(json.dumps(record)):
                return dict(record)
        raise self._damage(self._lines)

    def _damage(self, line: int) -> JournalError:
        return JournalError(
            f"{self.path}:{line} is damaged or was edited; restore the file, or start again in another run_dir"
        )


def _line(record: dict[str, Any]) -> bytes:
    body = json.dumps(record)
    return json.dumps({"crc32": _checksum(body), "record": record}).encode()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"

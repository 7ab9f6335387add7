"""An append-only file of records, one JSON line each, with a checksum in every line.

A line is written and flushed when its record is done, so that nothing evaluated is lost. A last line cut short by a
crash is dropped; any other damage is an error that names the line.
"""

import contextlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

__all__ = ["JournalError", "Records"]

FORMAT = 1


class JournalError(ValueError):
    """A file of records that is damaged, or belongs to something else."""


class Records:
    """The records in a file.

    Args:
        path: the file; it is created by the first `append`.
        kind: what the first line calls the file, like ``journal``.

    Attributes:
        records: what the file held when it was opened.

    Raises:
        JournalError: damage in any line but an incomplete last one, or another kind of file.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        self.records: list[dict[str, Any]] = []
        if path.exists():
            os.truncate(path, self._read())

    def append(self, record: dict[str, Any]) -> None:
        """Writes `record` and flushes it; a line that cannot be written whole is taken back."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            start = file.tell()
            try:
                if start == 0:
                    file.write(_line({self.kind: FORMAT}))
                file.write(_line(record))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self.path, start)
                raise

    def _read(self) -> int:
        """Reads all complete lines; returns where they end."""
        end = 0
        for number, raw in enumerate(self.path.read_bytes().splitlines(keepends=True), 1):
            if not raw.endswith(b"\n"):
                break
            try:
                item = json.loads(raw)
                record = item["record"]
                intact = item["crc32"] == f"{zlib.crc32(json.dumps(record).encode()):08x}"
            except (ValueError, KeyError, TypeError):
                intact, record = False, {}
            if not intact:
                raise JournalError(
                    f"{self.path}:{number} is damaged or was edited; "
                    "restore the file, or start again in another run_dir"
                )
            if number > 1:
                self.records.append(record)
            elif record != {self.kind: FORMAT}:
                raise JournalError(
                    f"{self.path} is not a {self.kind} of format {FORMAT}; start again in another run_dir"
                )
            end += len(raw)
        return end


def _line(record: dict[str, Any]) -> str:
    body = json.dumps(record)
    return json.dumps({"crc32": f"{zlib.crc32(body.encode()):08x}", "record": record}) + "\n"

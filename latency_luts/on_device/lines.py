"""The file of measurements: one line each, which is whole on the disk or not there."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 2
BUSY = 0.15  # references that are slower by more than this say that other programs had the machine


def encode(record: dict[str, Any]) -> str:
    """The line of the file of measurements that holds `record`, with a checksum."""
    return json.dumps({"crc32": _checksum(record), "record": record})


def decode(line: bytes) -> dict[str, Any]:
    """The record that a line holds.

    Raises:
        ValueError, KeyError, TypeError: the line is damaged.
    """
    item = json.loads(line.decode())
    if "record" not in item:  # of format 1, which had no checksums
        return item
    if item["crc32"] != _checksum(item["record"]):
        raise ValueError("its checksum is wrong")
    return item["record"]


def _checksum(record: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(record).encode()):08x}"


def keep(items: dict[tuple[str, int], dict[str, Any]], item: dict[str, Any]) -> None:
    """Puts a measurement among `items`, which are by file and turn; of two, the one of the faster moment stays."""
    place = (item["file"], item["turn"])
    reference_ms = _reference_ms(item)
    if place not in items or reference_ms < _reference_ms(items[place]):
        items[place] = item


def busy(items: dict[tuple[str, int], dict[str, Any]]) -> set[tuple[str, int]]:
    """Those of the measurements whose references were slower than at the machine's best moments."""
    references = {place: _reference_ms(item) for place, item in items.items()}
    limit = (1 + BUSY) * float(np.quantile(list(references.values()), 0.1)) if references else 0.0
    return {place for place, ms in references.items() if ms > limit}


def _reference_ms(item: dict[str, Any]) -> float:
    return float(item.get("chain", item)["reference_ms"])


class Lines:
    """The file of measurements: a line that says what is measured, then one for each measurement.

    Attributes:
        items: the measurements by file and turn; of several the one of the fastest moment.

    Raises:
        SystemExit: the file is damaged, of something else, or in use.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path = path
        self.items: dict[tuple[str, int], dict[str, Any]] = {}
        try:
            self._handle = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as e:
            raise SystemExit(f"error: out={path} cannot be written: {e.strerror}; give another name") from None
        try:
            import fcntl

            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"error: {path} is being written by another start of this program; wait for it") from None
        except (ImportError, OSError):
            pass  # no such locks here
        *lines, rest = path.read_bytes().split(b"\n")
        self._end = sum(len(line) + 1 for line in lines)
        if rest:  # the program was killed while it wrote this
            os.ftruncate(self._handle, self._end)
        if not lines:
            self._write(encode(head))
        for number, line in enumerate(lines, 1):
            self._take(number, line, head)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def append(self, items: list[dict[str, Any]]) -> None:
        """Writes measurements; all of them are on the disk then, or none."""
        self._write("\n".join(map(encode, items)))
        for item in items:
            keep(self.items, item)

    def _write(self, text: str) -> None:
        content, written = (text + "\n").encode(), 0
        try:
            while written < len(content):
                written += os.write(self._handle, content[written:])
            os.fsync(self._handle)
        except OSError as e:
            os.ftruncate(self._handle, self._end)
            raise OSError(e.errno, f"{e.strerror}; make room and start again: it continues", str(self.path)) from None
        self._end += written

    def _take(self, number: int, line: bytes, head: dict[str, Any]) -> None:
        try:
            item = decode(line)
            if number > 1:
                keep(self.items, item)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SystemExit(
                f"error: line {number} of {self.path} is damaged; remove the file to measure again, or give out= "
                "another name"
            ) from None
        if number == 1 and item != head:
            raise SystemExit(
                f"error: {self.path} belongs to another bundle, machine or runtime; remove it, or give out= another "
                "name"
            )

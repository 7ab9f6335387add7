"""The journal: an append-only file of trials, one JSON line each, with a checksum in every line.

A line is written and flushed when its trial is done, so that nothing evaluated is lost. A last line cut short by a
crash is dropped; any other damage is an error that names the line.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from nas.trial import STATUSES, Trial
from search_spaces.arch import Arch
from search_spaces.space import Indices

__all__ = ["Journal", "JournalError"]

FORMAT = 1


class JournalError(ValueError):
    """A journal that is damaged, or belongs to another search."""


class Journal:
    """The journal of one search.

    Args:
        path: the file; it is created by the first `append`.
        decode: gives the network of an index vector (`SearchSpace.decode`), which the file does not repeat.

    Raises:
        JournalError: damage in any line but an incomplete last one.
    """

    def __init__(self, path: Path, decode: Callable[[Indices], Arch]) -> None:
        self.path = path
        complete = 0
        self.trials: dict[int, Trial] = {}
        if path.exists():
            for end, item in _lines(path):
                if end > 0 and item is not None:
                    trial = _trial(item, decode, path)
                    if trial.sample in self.trials:
                        raise JournalError(f"{path}: sample {trial.sample} stands twice; the file was edited")
                    self.trials[trial.sample] = trial
                complete = end
            os.truncate(path, complete)

    def append(self, trial: Trial) -> None:
        """Writes `trial` and flushes it."""
        self.trials[trial.sample] = trial
        record = {f.name: getattr(trial, f.name) for f in fields(Trial) if f.name != "arch"}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            start = file.tell()
            try:
                if start == 0:
                    file.write(_line({"journal": FORMAT}))
                file.write(_line(record))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self.path, start)
                raise


def _line(record: dict[str, Any]) -> str:
    body = json.dumps(record)
    return json.dumps({"crc32": f"{zlib.crc32(body.encode()):08x}", "record": record}) + "\n"


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(offset after the line, its record) for each complete line; the record of the header is None."""
    end = 0
    for number, raw in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not raw.endswith(b"\n"):
            return
        try:
            item = json.loads(raw)
            record = item["record"]
            intact = item["crc32"] == f"{zlib.crc32(json.dumps(record).encode()):08x}"
        except (ValueError, KeyError, TypeError):
            intact, record = False, None
        if not intact:
            raise JournalError(
                f"{path}:{number} is damaged or was edited; restore the file, or start again in another run_dir"
            )
        if number == 1:
            if record != {"journal": FORMAT}:
                raise JournalError(f"{path} is not a journal of format {FORMAT}; start again in another run_dir")
            record = None
        end += len(raw)
        yield end, record


def _trial(record: dict[str, Any], decode: Callable[[Indices], Arch], path: Path) -> Trial:
    try:
        if record["status"] not in STATUSES:
            raise ValueError(f"status {record['status']!r}")
        return Trial(**{**record, "indices": tuple(record["indices"])}, arch=decode(record["indices"]))
    except (KeyError, TypeError, ValueError, IndexError) as e:
        raise JournalError(f"{path} does not belong to this search space ({e}); use another run_dir") from None

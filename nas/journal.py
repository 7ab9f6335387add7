"""The journal: the file of a search's trials, one record each (see `nas_runtime.records`)."""

import contextlib
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from nas.trial import Trial
from nas_runtime.records import JournalError, Records
from search_spaces import text
from search_spaces.arch import Arch
from search_spaces.space import Indices

__all__ = ["Journal", "JournalError"]

_STOPPED = re.compile(r"stopped after \d+ of \d+ epochs")


class Journal:
    """The journal of one search. Reading writes nothing to it.

    Args:
        path: the file; it is created by the first `append`.
        decode: gives the network of an index vector (`SearchSpace.decode`), which the file does not repeat.

    Attributes:
        trials: by sample. A sample that failed and was tried again has several records, of which the latest counts.

    Raises:
        JournalError: damage in any line but an incomplete last one, or values that no trial has.
    """

    def __init__(self, path: str | Path, decode: Callable[[Indices], Arch]) -> None:
        self.path = Path(path)
        self._decode = decode
        self._records = Records(path, "journal")
        self._taken = 0
        self.trials: dict[int, Trial] = {}
        self._take()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Inside, nothing else writes to the file. What another search has added before is in `trials`.

        Raises:
            FileError: another search is writing to it.
        """
        with self._records.writing():
            self._take()
            yield

    def append(self, *trials: Trial) -> None:
        """Writes `trials`, which are on the disk then."""
        self._records.append(*map(_record, trials))
        self.trials |= {trial.sample: trial for trial in trials}

    def settled(self, batch: int) -> dict[int, Trial]:
        """The trials that a search which continues this one keeps; all others it evaluates.

        What failed is tried again, as long as nothing depends on it: in the last batch that has results, and behind it.
        Earlier failures stay, because the controller was told of them (as of nothing) before it proposed what follows.

        Args:
            batch: trials between two updates of the controller.
        """
        last = max((sample // batch for sample, trial in self.trials.items() if trial.status != "failed"), default=-1)
        return {
            sample: trial for sample, trial in self.trials.items() if trial.status != "failed" or sample // batch < last
        }

    def _take(self) -> None:
        """Makes trials of the records that are new."""
        for record in self._records.records[self._taken :]:
            self._taken += 1
            trial = self._trial(record)
            before = self.trials.get(trial.sample)
            if before and before.status != "failed":
                raise JournalError(f"{self.path}: sample {trial.sample} stands twice; the file was edited")
            self.trials[trial.sample] = trial

    def _trial(self, record: dict[str, Any]) -> Trial:
        try:
            arch = self._decode(record["indices"])
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as e:
            raise JournalError(f"{self.path} does not belong to this search space ({e}); use another run_dir") from None
        if record.get("status") == "ok" and "curve" not in record and _STOPPED.fullmatch(str(record.get("note"))):
            raise JournalError(
                f"{self.path} is of an earlier version, which took networks that were stopped early for trained ones; "
                "start again in another run_dir"
            )
        if "network" in record and record["network"] != _checksum(arch):
            raise JournalError(
                f"{self.path}: sample {record.get('sample')} is another network in this space, which has changed; "
                "start again in another run_dir"
            )
        values = {name: value for name, value in record.items() if name != "network"}
        if record.get("latency_ms") is None:
            values["latency_ms"] = math.nan
        if record.get("status") == "failed" and record.get("top1") != record.get("top1"):
            values["top1"] = 0.0  # earlier versions kept the NaN that made it fail
        try:
            return Trial(**values, arch=arch)
        except (TypeError, ValueError) as e:
            raise JournalError(
                f"{self.path}: sample {record.get('sample')} is no trial of a search ({e}); start again in another "
                "run_dir"
            ) from None


def _record(trial: Trial) -> dict[str, Any]:
    record = {f.name: getattr(trial, f.name) for f in fields(Trial) if f.name != "arch"}
    for name in ("curve", "costs"):
        if not record[name]:
            del record[name]
    if math.isnan(trial.latency_ms):
        record["latency_ms"] = None
    if isinstance(trial.arch, Arch):
        record["network"] = _checksum(trial.arch)
    return record


def _checksum(arch: Arch) -> str:
    """Of all that a network is: a space that is changed gives other networks for its points."""
    return f"{zlib.crc32(text.to_json(arch).encode()):08x}"

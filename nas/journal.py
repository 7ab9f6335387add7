"""The journal: the file of a search's trials, one record each (see `nas_runtime.records`)."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from nas.trial import STATUSES, Trial
from nas_runtime.records import JournalError, Records
from search_spaces.arch import Arch
from search_spaces.space import Indices

__all__ = ["Journal", "JournalError"]


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
        self._records = Records(path, "journal")
        self.trials: dict[int, Trial] = {}
        for record in self._records.records:
            trial = _trial(record, decode, path)
            if trial.sample in self.trials:
                raise JournalError(f"{path}: sample {trial.sample} stands twice; the file was edited")
            self.trials[trial.sample] = trial

    def append(self, trial: Trial) -> None:
        """Writes `trial` and flushes it."""
        self.trials[trial.sample] = trial
        self._records.append({f.name: getattr(trial, f.name) for f in fields(Trial) if f.name != "arch"})


def _trial(record: dict[str, Any], decode: Callable[[Indices], Arch], path: Path) -> Trial:
    try:
        if record["status"] not in STATUSES:
            raise ValueError(f"status {record['status']!r}")
        return Trial(**{**record, "indices": tuple(record["indices"])}, arch=decode(record["indices"]))
    except (KeyError, TypeError, ValueError, IndexError) as e:
        raise JournalError(f"{path} does not belong to this search space ({e}); use another run_dir") from None

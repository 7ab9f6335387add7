"""`Ends`: when a search ends before it has all its samples."""

import time
from collections.abc import Callable, Sequence

from nas.trial import Trial

__all__ = ["Ends"]


class Ends:
    """Ends a search after so many minutes, or when so many samples were no better than the best before them.

    Args:
        max_minutes: of this call, which a continued search has anew; None: no limit.
        patience: samples; None: no limit.
        clock: seconds.
    """

    def __init__(
        self, *, max_minutes: float | None, patience: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._until = None if max_minutes is None else clock() + 60 * max_minutes
        self._max_minutes, self._patience, self._clock = max_minutes, patience, clock

    def why(self, trials: Sequence[Trial]) -> str:
        """Why the search ends after these trials, in words; "" if it goes on."""
        if not any(trial.status == "ok" for trial in trials):
            return ""
        if self._until is not None and self._clock() >= self._until:
            return f"max_minutes={self._max_minutes:g} are over"
        best = max((trial for trial in trials if trial.status == "ok"), key=lambda trial: (trial.reward, -trial.sample))
        since = len(trials) - 1 - best.sample
        if self._patience is not None and since >= self._patience:
            return f"none of the last {since} samples was better than sample {best.sample} (patience={self._patience})"
        return ""

"""`Ends`: when a search ends before it has all its samples."""

import time
from collections.abc import Callable, Sequence

from nas.trial import Trial

__all__ = ["Ends"]


class Ends:
    """Ends a search after so many minutes, or when so many samples were no better than the best before them.

    Args:
        max_minutes: from `begin` on; a continued search has them anew. None: no limit.
        patience: samples; None: no limit.
        clock: seconds.
    """

    def __init__(
        self, *, max_minutes: float | None, patience: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_minutes, self._patience, self._clock = max_minutes, patience, clock
        self._began: float | None = None

    def begin(self) -> None:
        """The first evaluation of this call is next; again: nothing."""
        self._began = self._clock() if self._began is None else self._began

    def why(self, trials: Sequence[Trial]) -> str:
        """Why the search ends after these trials, in words; "" if it goes on."""
        if not any(trial.status == "ok" for trial in trials):
            return ""
        lasted = 0.0 if self._began is None else self._clock() - self._began
        if self._max_minutes is not None and lasted >= 60 * self._max_minutes:
            return f"max_minutes={self._max_minutes:g} are over"
        best = max((trial for trial in trials if trial.status == "ok"), key=lambda trial: (trial.reward, -trial.sample))
        since = len(trials) - 1 - best.sample
        if self._patience is not None and since >= self._patience:
            return f"none of the last {since} samples was better than sample {best.sample} (patience={self._patience})"
        return ""

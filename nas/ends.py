"""`Ends`: when a search ends before it has all its samples."""

import time
from collections.abc import Callable, Sequence

from nas.goals import by
from nas.reward import Reward
from nas.trial import Trial

__all__ = ["Ends"]


class Ends:
    """Ends a search after so many minutes, or when so many samples were no better than the best before them.

    Args:
        max_minutes: from `begin` on; a continued search has them anew. None: no limit.
        patience: samples; None: no limit.
        rewards: in a search for several targets the reward for each, none of which is to find anything better.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        max_minutes: float | None,
        patience: int | None,
        rewards: Sequence[Reward] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rewards = tuple(rewards)
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
        latest = max(map(_best, [by(reward, trials) for reward in self._rewards] or [trials]))
        since = len(trials) - 1 - latest
        if self._patience is not None and since >= self._patience:
            any_target = " for any target" if self._rewards else ""
            return (
                f"none of the last {since} samples was better than sample {latest}{any_target} "
                f"(patience={self._patience})"
            )
        return ""


def _best(trials: Sequence[Trial]) -> int:
    """The sample with the best reward, the first of equal ones; -1 if there is none."""
    good = (trial for trial in trials if trial.status == "ok")
    return max(((trial.reward, -trial.sample) for trial in good), default=(0.0, 1))[1] * -1

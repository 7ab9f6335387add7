"""What a search maximises, from its first sample to its last."""

from collections.abc import Callable, Sequence

from nas.reward import Reward, adjusted
from nas.trial import Trial

__all__ = ["Objective"]


class Objective:
    """The reward of a search, which may change once, to land on the target (`nas.reward.adjusted`).

    Args:
        reward: the one that the search begins with.
        on_change: is told of a new reward, and after how many samples it came.

    Attributes:
        reward: the one that counts now; when the search has ended, for all its trials.
    """

    def __init__(self, reward: Reward, on_change: Callable[[Reward, int], None] | None = None) -> None:
        self.reward = reward
        self._on_change = on_change

    def adjust(self, trials: Sequence[Trial]) -> Reward:
        """The reward from now on, by what the good ones of `trials` are."""
        good = [trial for trial in trials if trial.status == "ok"]
        bent = adjusted(self.reward, [trial.top1 for trial in good], [trial.latency_ms for trial in good])
        if bent != self.reward:
            self.reward = bent
            if self._on_change:
                self._on_change(bent, len(trials))
        return self.reward

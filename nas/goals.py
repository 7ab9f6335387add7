"""What winners of a search are looked for: one for each of its targets, `targets=[8,12,16]`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.objective import rewarded
from nas.reward import Reward
from nas.trial import Trial

if TYPE_CHECKING:
    from nas_runtime.run import Run

__all__ = ["Goal", "Nearest", "by", "folder"]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a winner is looked for.

    Attributes:
        reward: by which it wins, with its target.
        run: where it is delivered.
    """

    reward: Reward
    run: "Run"


@dataclass(frozen=True)
class Nearest:
    """The reward of a search for several targets: of each network, that for the target nearest to its latency, as a
    ratio. It stands in the journal; winners are found by the reward for their own target.

    Attributes:
        rewards: for each target, the shortest first; at least one.
    """

    rewards: Sequence[Reward]

    def __call__(self, top1: float, latency_ms: float) -> float:
        return self.of(latency_ms)(top1, latency_ms)

    def of(self, latency_ms: float) -> Reward:
        """The reward that counts at so many milliseconds."""
        return min(self.rewards, key=lambda reward: abs(math.log(latency_ms / reward.target_ms)))


def by(reward: Reward, trials: Sequence[Trial]) -> list[Trial]:
    """`trials` by another reward; failed where it gives none."""
    return [rewarded(trial, reward) for trial in trials]


def folder(target_ms: float) -> str:
    """The name of a target's folder in the run."""
    return f"{target_ms:g}ms"

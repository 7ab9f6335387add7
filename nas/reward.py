"""Rewards: pure functions of accuracy and latency.

MnasNet (arXiv:1807.11626, equations 2 and 3): ``ACC * (LAT / TAR) ** w`` with w = alpha where LAT <= TAR, else beta.
TuNAS (arXiv:2008.06120, equation 2): ``ACC + beta * |LAT / TAR - 1|``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["NAMES", "Reward", "absolute", "adjusted", "hard", "soft"]

NAMES = ("soft", "hard", "absolute")
_NEAR = 0.03
_BENT = -0.3


@dataclass(frozen=True, kw_only=True)
class Reward:
    """One of `NAMES` with its parameters: a function of (top1, latency_ms).

    Attributes:
        w: of ``soft``.
        w_above: of ``soft``, above the target; None: also w.
        beta: of ``absolute``.
    """

    name: str
    target_ms: float
    w: float = -0.07
    w_above: float | None = None
    beta: float = -0.2

    def __call__(self, top1: float, latency_ms: float) -> float:
        if self.name == "hard":
            return hard(top1, latency_ms, target_ms=self.target_ms)
        if self.name == "absolute":
            return absolute(top1, latency_ms, target_ms=self.target_ms, beta=self.beta)
        return soft(top1, latency_ms, target_ms=self.target_ms, w=self.w, w_above=self.w_above)

    def describe(self) -> str:
        if self.name == "hard":
            return "ACC below the target, ACC × (LAT/TAR)^-1 above it"
        if self.name == "absolute":
            return f"ACC - {-self.beta:g} × |LAT/TAR - 1|"
        above = "" if self.w_above is None else f", ^{self.w_above:g} above the target"
        return f"ACC × (LAT/TAR)^{self.w:g}{above}"


def soft(top1: float, latency_ms: float, *, target_ms: float, w: float = -0.07, w_above: float | None = None) -> float:
    """The target is a rate of exchange: doubling the latency multiplies the reward by ``2 ** w`` on either side of it.

    MnasNet uses alpha = beta = w = -0.07 (0.953 for a doubling); MobileNetV3-Small w = -0.15 (0.901).

    Args:
        top1: accuracy in [0, 1].
        w: at most 0; the paper's alpha.
        w_above: the same above the target, the paper's beta; None: w.

    Raises:
        ValueError: a latency or target that is not positive, or w > 0.
    """
    return _mnasnet(top1, latency_ms, target_ms, alpha=w, beta=w if w_above is None else w_above)


def hard(top1: float, latency_ms: float, *, target_ms: float, beta: float = -1.0) -> float:
    """The target is a limit: below it only accuracy counts (alpha = 0), above it latency costs in proportion.

    Raises:
        ValueError: a latency or target that is not positive, or beta > 0.
    """
    return _mnasnet(top1, latency_ms, target_ms, alpha=0.0, beta=beta)


def absolute(top1: float, latency_ms: float, *, target_ms: float, beta: float = -0.2) -> float:
    """The target is met: being 10 % faster costs as much as being 10 % slower, so that a search lands on it.

    It does as long as |beta| is more than networks gain by being slower: the accuracy for a doubling of the latency,
    times 1.44. With less, searches end above their target. TuNAS has -0.1, for accuracies after a long training; after
    a short one they differ more, hence -0.2.

    Raises:
        ValueError: a latency or target that is not positive, or beta >= 0.
    """
    if not (latency_ms > 0 and target_ms > 0):
        raise ValueError(f"latency {latency_ms} ms, target {target_ms} ms: both must be above 0")
    if beta >= 0:
        raise ValueError(f"beta={beta}: it must be below 0, or missing the target would be rewarded")
    return top1 + beta * abs(latency_ms / target_ms - 1)


def adjusted(reward: Reward, top1: Sequence[float], latency_ms: Sequence[float]) -> Reward:
    """`soft` bent at the target, if a search with it misses the target; else `reward` itself.

    The best latency of `soft` does not depend on the target, only on w: it is where a percent of latency is worth w
    percent of accuracy. So where the best networks (n,) so far, a fiftieth and at least 5, are more than 3 % off, being
    fast gains nothing any more, and being slow costs (LAT/TAR)^-0.3 or what it did cost, if that is more. As long as a
    percent of latency is worth less than 0.3 % of accuracy, the best reward is then at the target.

    Raises:
        ValueError: the reward is not `soft`, or no network is known.
    """
    rewards = np.array([reward(a, ms) for a, ms in zip(top1, latency_ms, strict=True)])
    if reward.name != "soft" or not len(rewards):
        raise ValueError(f"reward={reward.name} with {len(rewards)} networks cannot be adjusted")
    best = np.argsort(-rewards, kind="stable")[: max(5, len(rewards) // 50)]
    if abs(np.median(np.asarray(latency_ms)[best]) / reward.target_ms - 1) <= _NEAR:
        return reward
    return replace(reward, w=0.0, w_above=min(_BENT, reward.w if reward.w_above is None else reward.w_above))


def _mnasnet(top1: float, latency_ms: float, target_ms: float, *, alpha: float, beta: float) -> float:
    if not (latency_ms > 0 and target_ms > 0):
        raise ValueError(f"latency {latency_ms} ms, target {target_ms} ms: both must be above 0")
    if max(alpha, beta) > 0:
        raise ValueError(f"w={max(alpha, beta)}: it must be at most 0, or slower networks would be rewarded")
    return top1 * (latency_ms / target_ms) ** (alpha if latency_ms <= target_ms else beta)

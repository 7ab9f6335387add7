"""Rewards: pure functions of accuracy and latency.

MnasNet (arXiv:1807.11626, equations 2 and 3): ``ACC * (LAT / TAR) ** w`` with w = alpha where LAT <= TAR, else beta.
TuNAS (arXiv:2008.06120, equation 2): ``ACC + beta * |LAT / TAR - 1|``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["NAMES", "Reward", "absolute", "hard", "soft", "w_that_meets"]

NAMES = ("soft", "hard", "absolute")


@dataclass(frozen=True, kw_only=True)
class Reward:
    """One of `NAMES` with its parameters: a function of (top1, latency_ms).

    Attributes:
        w: of ``soft``.
        beta: of ``absolute``.
    """

    name: str
    target_ms: float
    w: float = -0.07
    beta: float = -0.1

    def __call__(self, top1: float, latency_ms: float) -> float:
        if self.name == "hard":
            return hard(top1, latency_ms, target_ms=self.target_ms)
        if self.name == "absolute":
            return absolute(top1, latency_ms, target_ms=self.target_ms, beta=self.beta)
        return soft(top1, latency_ms, target_ms=self.target_ms, w=self.w)

    def describe(self) -> str:
        if self.name == "hard":
            return "ACC below the target, ACC × (LAT/TAR)^-1 above it"
        if self.name == "absolute":
            return f"ACC - {-self.beta:g} × |LAT/TAR - 1|"
        return f"ACC × (LAT/TAR)^{self.w:g}"


def soft(top1: float, latency_ms: float, *, target_ms: float, w: float = -0.07) -> float:
    """The target is a rate of exchange: doubling the latency multiplies the reward by ``2 ** w`` on either side of it.

    MnasNet uses alpha = beta = w = -0.07 (0.953 for a doubling); MobileNetV3-Small w = -0.15 (0.901).

    Args:
        top1: accuracy in [0, 1].
        w: at most 0.

    Raises:
        ValueError: a latency or target that is not positive, or w > 0.
    """
    return _mnasnet(top1, latency_ms, target_ms, alpha=w, beta=w)


def hard(top1: float, latency_ms: float, *, target_ms: float, beta: float = -1.0) -> float:
    """The target is a limit: below it only accuracy counts (alpha = 0), above it latency costs in proportion.

    Raises:
        ValueError: a latency or target that is not positive, or beta > 0.
    """
    return _mnasnet(top1, latency_ms, target_ms, alpha=0.0, beta=beta)


def absolute(top1: float, latency_ms: float, *, target_ms: float, beta: float = -0.1) -> float:
    """The target is met: being 10 % faster costs as much as being 10 % slower, so that a search lands on it.

    It does as long as |beta| is more than a network gains by being slower: the accuracy for a doubling of the latency,
    times 1.44. Below that rate searches end above their target.

    Raises:
        ValueError: a latency or target that is not positive, or beta >= 0.
    """
    if not (latency_ms > 0 and target_ms > 0):
        raise ValueError(f"latency {latency_ms} ms, target {target_ms} ms: both must be above 0")
    if beta >= 0:
        raise ValueError(f"beta={beta}: it must be below 0, or missing the target would be rewarded")
    return top1 + beta * abs(latency_ms / target_ms - 1)


def w_that_meets(target_ms: float, top1: Sequence[float], latency_ms: Sequence[float]) -> float:
    """The w with which `soft` would have made the target the best latency, judging by networks that are known.

    For each w the networks (n,) are ranked by their reward; it is the w whose best networks, a fiftieth and at least 5,
    have the median latency that is nearest to the target.

    Raises:
        ValueError: no network is known.
    """
    good = np.asarray(top1) > 0
    accuracy, ratio = np.log(np.asarray(top1)[good]), np.log(np.asarray(latency_ms)[good] / target_ms)
    if not len(accuracy):
        raise ValueError("w cannot be adjusted: no network was evaluated yet")
    count = min(len(accuracy), max(5, len(accuracy) // 50))

    def miss(w: float) -> float:
        best = np.argpartition(-(accuracy + w * ratio), count - 1)[:count]
        return abs(float(np.median(ratio[best])))

    return float(min(-np.geomspace(0.005, 2, 400), key=miss))


def _mnasnet(top1: float, latency_ms: float, target_ms: float, *, alpha: float, beta: float) -> float:
    if not (latency_ms > 0 and target_ms > 0):
        raise ValueError(f"latency {latency_ms} ms, target {target_ms} ms: both must be above 0")
    if max(alpha, beta) > 0:
        raise ValueError(f"w={max(alpha, beta)}: it must be at most 0, or slower networks would be rewarded")
    return top1 * (latency_ms / target_ms) ** (alpha if latency_ms <= target_ms else beta)

"""Rewards: pure functions of accuracy and latency.

MnasNet (arXiv:1807.11626, equations 2 and 3): ``ACC * (LAT / TAR) ** w`` with w = alpha where LAT <= TAR, else beta.
"""

__all__ = ["NAMES", "hard", "soft"]

NAMES = ("soft", "hard")


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


def _mnasnet(top1: float, latency_ms: float, target_ms: float, *, alpha: float, beta: float) -> float:
    if not (latency_ms > 0 and target_ms > 0):
        raise ValueError(f"latency {latency_ms} ms, target {target_ms} ms: both must be above 0")
    if max(alpha, beta) > 0:
        raise ValueError(f"w={max(alpha, beta)}: it must be at most 0, or slower networks would be rewarded")
    return top1 * (latency_ms / target_ms) ** (alpha if latency_ms <= target_ms else beta)

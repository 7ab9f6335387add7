"""The Pareto front of accuracy and latency, and how much it dominates."""

from collections.abc import Sequence

import numpy as np

from nas.trial import Trial

__all__ = ["front", "hypervolume"]


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other beats in both top-1 and latency, fastest first; of equals the earliest."""
    best: list[Trial] = []
    for trial in sorted((t for t in trials if t.status == "ok"), key=lambda t: (t.latency_ms, -t.top1, t.sample)):
        if not best or trial.top1 > best[-1].top1:
            best.append(trial)
    return best


def hypervolume(top1: np.ndarray, latency_ms: np.ndarray, *, reference_ms: float) -> float:
    """The share of the rectangle from (0, top-1 1) to (`reference_ms`, top-1 0) that networks dominate.

    A network dominates what is slower and less accurate. 1 would be a perfect network that takes no time.

    Args:
        top1, latency_ms: (n,); networks at or above `reference_ms` dominate nothing.

    Raises:
        ValueError: `reference_ms` is not above 0.
    """
    if not 0 < reference_ms < np.inf:
        raise ValueError(f"reference_ms={reference_ms}: it must be above 0 and finite")
    top1, latency_ms = np.asarray(top1, dtype=np.float64), np.asarray(latency_ms, dtype=np.float64)
    inside = latency_ms < reference_ms
    order = np.argsort(latency_ms[inside], kind="stable")
    start = latency_ms[inside][order]
    height = np.maximum.accumulate(np.clip(top1[inside][order], 0, 1))
    return float((np.diff(start, append=reference_ms) * height).sum() / reference_ms)

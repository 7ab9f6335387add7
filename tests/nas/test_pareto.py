"""The Pareto front, and the share that it dominates, by hand."""

import numpy as np
import pytest

from nas import pareto
from nas.trial import Trial
from search_spaces import zoo

ARCH = zoo.get("mnasnet_small")


def trials(*points: tuple[float, float], status: str = "ok") -> list[Trial]:
    """Of (ms, top-1), numbered from 0."""
    return [
        Trial(sample=i, indices=(0,), arch=ARCH, top1=top1, latency_ms=ms, reward=0, status=status)
        for i, (ms, top1) in enumerate(points)
    ]


@pytest.mark.parametrize(
    ("points", "samples"),
    [
        ([(2, 0.5), (3, 0.4), (6, 0.8), (7, 0.8)], [0, 2]),  # slower and worse; slower and as good
        ([(2, 0.4), (2, 0.5), (2, 0.3)], [1]),  # of equally fast ones the best
        ([(3, 0.5), (2, 0.5), (2, 0.5)], [1]),  # of equals the earliest
        ([(9, 0.9), (1, 0.1), (5, 0.5)], [1, 2, 0]),  # the fastest first
        ([], []),
    ],
)
def test_the_front(points, samples):
    assert [t.sample for t in pareto.front(trials(*points))] == samples
    assert pareto.front(trials(*points, status="failed")) == []


@pytest.mark.parametrize(
    ("points", "reference_ms", "area"),
    [
        ([(2, 0.5), (3, 0.4), (6, 0.8), (7, 0.8)], 10, 4 * 0.5 + 4 * 0.8),
        ([(6, 0.8), (2, 0.5)], 10, 4 * 0.5 + 4 * 0.8),  # in any order
        ([(2, 0.1)], 10, 8 * 0.1),
        ([(2, 0.5), (10, 1.0), (12, 1.0)], 10, 8 * 0.5),  # at or above the reference nothing counts
        ([(2, 0.5)], 2, 0),
        ([], 2, 0),
    ],
)
def test_the_share_that_is_dominated(points, reference_ms, area):
    ms, top1 = np.array(points).reshape(-1, 2).T
    assert pareto.hypervolume(top1, ms, reference_ms=reference_ms) == pytest.approx(area / reference_ms)


@pytest.mark.parametrize("reference_ms", [0, -1, np.inf, np.nan])
def test_a_reference_is_above_0(reference_ms):
    with pytest.raises(ValueError, match=f"reference_ms={reference_ms}: it must be above 0 and finite"):
        pareto.hypervolume(np.array([0.5]), np.array([1.0]), reference_ms=reference_ms)

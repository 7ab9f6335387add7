"""The latencies that the networks of a space have."""

import numpy as np

from nas.devices import Latency
from search_spaces.space import SearchSpace

__all__ = ["reach"]


def reach(space: SearchSpace, latency: Latency) -> tuple[float, float]:
    """Latency in ms of the fastest and of the slowest network, as local searches over single choices find them.

    Raises:
        latency_luts.MissingUnitsError: the table does not have all units of a network.
    """
    rows = space.sample(np.random.default_rng(0), 2000)
    ms = latency.latency_ms_batch(space, rows)
    return _descend(space, latency, rows[ms.argmin()], +1), _descend(space, latency, rows[ms.argmax()], -1)


def _descend(space: SearchSpace, latency: Latency, point: np.ndarray, sign: int) -> float:
    """The lowest `sign` x latency that changing one choice at a time comes to."""
    best = np.inf
    while True:
        neighbours = space.neighbours(point)
        ms = sign * latency.latency_ms_batch(space, neighbours)
        if ms.min() >= best:
            return float(sign * best)
        best, point = ms.min(), neighbours[ms.argmin()]

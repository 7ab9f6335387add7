"""Weights that are still in the caches when the next inference needs them.

A light network finds part of its weights there, a heavy one has pushed them out itself; so a unit takes longer in a
heavy network than in a light one, and no sum of units knows. A table's units hold the time that they take when all
weights come from memory. What a network saves is a function of all its weights, and how much that is for a MiB shows in
the units' own times, which were taken in chains of different weight.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from search_spaces import cost
from search_spaces.lower import Unit

__all__ = ["CACHE_MIB", "saved_by_mib_ms", "share", "weights_mib"]

CACHE_MIB = 6.0  # weights that leave 1 / e of themselves; on a server's CPU 4 to 12 fit nearly as well
_LEAST = 4  # times in different chains; a unit with fewer says little
_FAR = 0.2  # more than this beside what is expected is a disturbance
_ROUNDS = 10  # iterations of least squares; converged by then
_BYTES = {"fp16": 2, "int8": 1}  # of a weight; 4 of any other
_SURE = 2  # standard errors; less is taken for chance


def weights_mib(unit: Unit, dtype: str) -> float:
    """MiB of a unit's weights."""
    return cost.unit_params(unit) * _BYTES.get(dtype, 4) / 2**20


def share(mib: np.ndarray | float, cache_mib: float = CACHE_MIB) -> np.ndarray:
    """The share of its weights that a network of `mib` MiB still finds in the caches."""
    return np.exp(-np.asarray(mib) / cache_mib)


def saved_by_mib_ms(units: Iterable[tuple[float, Sequence[float], Sequence[float]]]) -> float:
    """Milliseconds that a MiB of weights found in the caches saves: by least squares of relative errors, robust against
    disturbed times; 0 where chains are too much alike to tell.

    Args:
        units: for each its weights (MiB), and for each chain it was timed in its ms there and the chain's MiB.
    """
    found, expected = [np.zeros(1)], [np.zeros(1)]
    for mib, ms, chains_mib in units:
        middle = float(np.median(ms)) if len(ms) >= _LEAST else 0.0
        if middle > 0:
            stay = share(np.asarray(chains_mib))
            expected.append(mib * (stay.mean() - stay) / middle)  # whatever the middle is off by, cancels out
            found.append(np.asarray(ms) / middle - 1)
    x, y = np.concatenate(expected), np.concatenate(found)
    information, slope, off = float(x @ x), 0.0, y
    if information < 1e-9:
        return 0.0
    for _ in range(_ROUNDS):
        off = np.clip(y - slope * x, -_FAR, _FAR)
        slope += float(x @ off) / information
    return slope if slope > _SURE * float(off.std()) / information**0.5 else 0.0

"""Weights that are still in the caches when the next inference needs them.

A light network finds part of its weights there, a heavy one has pushed them out itself; so a unit takes longer in a
heavy network than in a light one, and no sum of units knows. A table's units hold the time that they take when all
weights come from memory; what a network saves is a function of all its weights, and how much that is for a MiB shows in
the units' own times, which were taken in chains of different weight.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from search_spaces import cost
from search_spaces.lower import Unit

__all__ = ["saved", "saved_by_mib_ms", "weights_mib"]

_MIB = 6.0  # of weights, which leave 1 / e of themselves; 4 to 12 fit nearly as well
_LEAST = 4  # times in different chains; a unit with fewer says little
_FAR = 0.2  # from a unit's middle: more is a disturbance


def weights_mib(unit: Unit, dtype: str) -> float:
    """MiB of a unit's weights."""
    return cost.unit_params(unit) * (1 if dtype == "int8" else 4) / 2**20


def saved(mib: np.ndarray | float) -> np.ndarray:
    """How many MiB of weights a network of `mib` MiB still finds in the caches."""
    mib = np.asarray(mib, dtype=float)
    return mib * np.exp(-mib / _MIB)


def saved_by_mib_ms(units: Iterable[tuple[float, Sequence[float], Sequence[float]]]) -> float:
    """Milliseconds that a MiB of weights found in the caches saves: by least squares of relative errors, at least 0.

    Args:
        units: for each its weights (MiB), and for each chain it was timed in its ms there and the chain's MiB.
    """
    found, expected = [np.zeros(1)], [np.zeros(1)]
    for mib, ms, chains_mib in units:
        middle = float(np.median(ms)) if len(ms) >= _LEAST else 0.0
        if middle > 0:
            stay = np.exp(-np.asarray(chains_mib) / _MIB)
            expected.append(mib * (stay.mean() - stay) / middle)
            found.append(np.clip(np.asarray(ms) / middle - 1, -_FAR, _FAR))
    x, y = np.concatenate(expected), np.concatenate(found)
    return max(0.0, float(x @ y / (x @ x))) if x.any() else 0.0

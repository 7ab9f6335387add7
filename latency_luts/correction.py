"""From the sum of a network's units to the network: what running as one graph changes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from latency_luts import residence
from latency_luts.values import NetworkFit, check_number

__all__ = ["FEWEST", "Correction", "fit_correction"]

FEWEST = 4
"""Networks: two coefficients and their error cannot be told from fewer."""
_ENOUGH_FOR_THREE = 8  # networks; fewer have two coefficients


@dataclass(frozen=True, kw_only=True)
class Correction:
    """Network latency = scale * (sum of its units - saved) + per_kernel_ms * their kernels + offset_ms.

    Units are timed with a profiler, whose own time at every kernel is what ``per_kernel_ms`` takes off again. Their
    weights come from memory; those that a network of ``mib`` MiB still finds in the caches, of which there are ``mib *
    residence.share(mib, cache_mib)``, save ``saved_by_mib_ms`` a MiB. Small networks leave more in the caches than
    weights, which is what an ``offset_ms`` below 0 stands for. Of networks whose units, less what they save, add up to
    less than ``smallest_ms``, as no network of the fit does, it takes off less, in proportion: a network of nothing
    takes no time, and none takes less. 0: it does not.
    """

    scale: float = 1.0
    per_kernel_ms: float = 0.0
    offset_ms: float = 0.0
    saved_by_mib_ms: float = 0.0
    cache_mib: float = residence.CACHE_MIB
    smallest_ms: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            check_number(f.name, getattr(self, f.name), low=-math.inf)

    def saved_ms(self, mib: np.ndarray | float) -> np.ndarray:
        """What networks with `mib` MiB of weights save."""
        return self.saved_by_mib_ms * mib * residence.share(mib, self.cache_mib)

    def network_ms(self, sum_ms: float, kernels: float, saved_ms: float = 0.0) -> float:
        """Milliseconds of a network: the formula above."""
        return float(self._with_offset(self.scale * (sum_ms - saved_ms) + self.per_kernel_ms * kernels))

    def unit_ms(self, ms: float, kernels: float) -> float:
        """What a unit adds to its network; below 0 where the profiler's time at its kernels is all that was seen."""
        return self.scale * ms + self.per_kernel_ms * kernels

    def whole_ms(self, units_ms: np.ndarray | float, mib: np.ndarray | float) -> np.ndarray:
        """Milliseconds of networks whose units add `units_ms`, and have `mib` MiB of weights."""
        return self._with_offset(units_ms - self.scale * self.saved_ms(mib))

    def _with_offset(self, ms: np.ndarray | float) -> np.ndarray:
        if self.offset_ms < 0 < self.smallest_ms:
            return ms + self.offset_ms * np.minimum(ms / self.smallest_ms, 1)
        return np.asarray(ms + self.offset_ms)

    def of_networks(self, fitted_ms: Sequence[float]) -> "Correction":
        """The same, which knows what networks of its fit take by its formula."""
        smallest = min(fitted_ms)
        return replace(self, smallest_ms=smallest - self.offset_ms if self.offset_ms < 0 < smallest else 0.0)


def fit_correction(
    names: Sequence[str], sums_ms: Sequence[float], whole_ms: Sequence[float], kernels: Sequence[int] | None = None
) -> tuple[Correction, tuple[NetworkFit, ...]]:
    """The correction that minimises squared relative errors, and how each network comes out with and without itself.

    Args:
        sums_ms: milliseconds of the units of each network, added up.
        whole_ms: milliseconds of each network, timed as one graph.
        kernels: of each network's units; if None a scale and an offset are fitted, else a scale and a time per kernel,
            and from 8 networks on an offset beside them.

    Raises:
        ValueError: fewer than `FEWEST` networks.
    """
    if len(names) < FEWEST:
        raise ValueError(f"{len(names)} networks for two coefficients; give at least {FEWEST}")
    y = np.asarray(whole_ms)
    columns = {"scale": np.asarray(sums_ms), "offset_ms": np.ones(len(y))}
    if kernels is not None:
        columns["per_kernel_ms"] = np.asarray(kernels)
        if len(y) < _ENOUGH_FOR_THREE:
            del columns["offset_ms"]
    x = np.stack(list(columns.values()), axis=1)

    def fitted(rows: np.ndarray) -> Correction:
        costs = _solve(x[rows], y[rows])
        found = Correction(**dict(zip(columns, map(float, costs), strict=True)))
        return found.of_networks((x[rows] @ costs).tolist())

    everything = np.arange(len(y))
    correction = fitted(everything)
    fits = []
    for i, name in enumerate(names):
        its = {"sum_ms": float(sums_ms[i]), "kernels": 0 if kernels is None else int(kernels[i])}
        fits.append(
            NetworkFit(
                name=name,
                ms=float(y[i]),
                fitted_ms=correction.network_ms(**its),
                left_out_ms=fitted(np.delete(everything, i)).network_ms(**its),
                **its,
            )
        )
    return correction, tuple(fits)


def _solve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(k,) costs of the columns of `x` (n, k) with the least squared errors relative to `y` (n,)."""
    return np.linalg.lstsq(x / y[:, None], np.ones(len(y)), rcond=None)[0]

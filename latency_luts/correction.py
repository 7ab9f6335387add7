"""From the sum of a network's units to the network: what running as one graph changes."""

from collections.abc import Sequence

import numpy as np

from latency_luts.table import Correction, NetworkFit

__all__ = ["FEWEST", "fit_correction"]

FEWEST = 4
"""Networks: two coefficients and their error cannot be told from fewer."""
_ENOUGH_FOR_THREE = 8  # networks; fewer have two coefficients


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
        return Correction(**dict(zip(columns, map(float, _solve(x[rows], y[rows])), strict=True)))

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

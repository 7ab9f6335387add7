"""From the sum of a network's units to the network: what running as one graph changes."""

from collections.abc import Sequence

import numpy as np

from latency_luts.table import Correction, NetworkFit

__all__ = ["fit_correction"]


def fit_correction(
    names: Sequence[str], sums_ms: Sequence[float], whole_ms: Sequence[float], kernels: Sequence[int] | None = None
) -> tuple[Correction, tuple[NetworkFit, ...]]:
    """The correction that minimises squared relative errors, and how each network comes out with and without itself.

    Args:
        sums_ms: milliseconds of the units of each network, added up.
        whole_ms: milliseconds of each network, timed as one graph.
        kernels: of each network's units; if None a scale and an offset are fitted, else a scale and a time per kernel.

    Raises:
        ValueError: fewer than 4 networks: two coefficients and their error cannot be told from them.
    """
    if len(names) < 4:
        raise ValueError(f"{len(names)} networks for two coefficients; give at least 4")
    x = np.stack([np.asarray(sums_ms), np.ones(len(names)) if kernels is None else np.asarray(kernels)], axis=1)
    y = np.asarray(whole_ms)

    def solve(rows: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(x[rows] / y[rows, None], np.ones(len(rows)), rcond=None)[0]

    everything = np.arange(len(y))
    scale, second = solve(everything)
    fits = tuple(
        NetworkFit(
            name=name,
            ms=float(y[i]),
            fitted_ms=float(x[i] @ (scale, second)),
            left_out_ms=float(x[i] @ solve(everything[everything != i])),
            sum_ms=float(sums_ms[i]),
            kernels=0 if kernels is None else int(kernels[i]),
        )
        for i, name in enumerate(names)
    )
    if kernels is None:
        return Correction(scale=float(scale), offset_ms=float(second)), fits
    return Correction(scale=float(scale), per_kernel_ms=float(second)), fits

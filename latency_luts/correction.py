"""From the sum of a network's units to the network: what running as one graph changes."""

from collections.abc import Sequence

import numpy as np

from latency_luts.table import Correction, NetworkFit

__all__ = ["fit_correction"]


def fit_correction(
    names: Sequence[str], sums_ms: Sequence[float], whole_ms: Sequence[float]
) -> tuple[Correction, tuple[NetworkFit, ...]]:
    """Scale and offset from sums of units to whole networks (least squares of relative errors), with leave-one-out.

    Raises:
        ValueError: fewer than 4 networks: two coefficients and their error cannot be told from them.
    """
    if len(names) < 4:
        raise ValueError(f"{len(names)} networks for a scale and an offset; give at least 4")
    x = np.stack([np.asarray(sums_ms), np.ones(len(names))], axis=1)
    y = np.asarray(whole_ms)

    def solve(rows: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(x[rows] / y[rows, None], np.ones(len(rows)), rcond=None)[0]

    everything = np.arange(len(y))
    scale, offset_ms = solve(everything)
    fits = tuple(
        NetworkFit(
            name=name,
            ms=float(y[i]),
            fitted_ms=float(x[i] @ (scale, offset_ms)),
            left_out_ms=float(x[i] @ solve(everything[everything != i])),
        )
        for i, name in enumerate(names)
    )
    return Correction(scale=float(scale), offset_ms=float(offset_ms)), fits

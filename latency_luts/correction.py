"""From the sum of a network's units to the network: what running as one graph changes."""

from collections.abc import Sequence

import numpy as np

from latency_luts.table import Correction, NetworkFit

__all__ = ["fit_correction"]

_ENOUGH_FOR_THREE = 8  # networks; fewer have two coefficients


def fit_correction(
    names: Sequence[str], sums_ms: Sequence[float], whole_ms: Sequence[float], kernels: Sequence[int] | None = None
) -> tuple[Correction, tuple[NetworkFit, ...]]:
    """The correction that minimises squared relative errors, and how each network comes out with and without itself.

    Args:
        sums_ms: milliseconds of the units of each network, added up.
        whole_ms: milliseconds of each network, timed as one graph.
        kernels: of each network's units; if None a scale and an offset are fitted, else a scale and a time per kernel,
            and an offset beside them where networks left out come out better with it.

    Raises:
        ValueError: fewer than 4 networks: two coefficients and their error cannot be told from them.
    """
    if len(names) < 4:
        raise ValueError(f"{len(names)} networks for two coefficients; give at least 4")
    y = np.asarray(whole_ms)
    given = {"scale": np.asarray(sums_ms), "offset_ms": np.ones(len(y))}
    forms = [("scale", "offset_ms")]
    if kernels is not None:
        given["per_kernel_ms"] = np.asarray(kernels)
        forms = [("scale", "per_kernel_ms"), ("scale", "per_kernel_ms", "offset_ms")]
    tried = []
    for form in forms[: 1 if len(y) < _ENOUGH_FOR_THREE else None]:
        x = np.stack([given[name] for name in form], axis=1)
        left_out = np.array([x[i] @ _solve(np.delete(x, i, 0), np.delete(y, i)) for i in range(len(y))])
        tried.append((float(np.square(left_out / y - 1).mean()), form, _solve(x, y), x, left_out))
    best = tried[0]
    for other in tried[1:]:
        if other[0] < best[0] - 1e-12:  # equal ones differ by rounding
            best = other
    _, form, costs, x, left_out = best
    fits = tuple(
        NetworkFit(
            name=name,
            ms=float(y[i]),
            fitted_ms=float(x[i] @ costs),
            left_out_ms=float(left_out[i]),
            sum_ms=float(sums_ms[i]),
            kernels=0 if kernels is None else int(kernels[i]),
        )
        for i, name in enumerate(names)
    )
    return Correction(**dict(zip(form, map(float, costs), strict=True))), fits


def _solve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(k,) costs of the columns of `x` (n, k) with the least squared errors relative to `y` (n,)."""
    return np.linalg.lstsq(x / y[:, None], np.ones(len(y)), rcond=None)[0]

"""A latency model for a device that is not at hand, fitted to published latencies of whole networks.

A unit costs a non-negative amount

- for each multiply-add of a dense operator (convolutions, linear layers),
- for each multiply-add of a depthwise convolution, which uses the arithmetic units worse,
- for each byte that its operators read and write, weights and activations,
- for each operator, whatever its size.

Four coefficients for nine networks. Models with more kinds (stem convolution, squeeze-and-excite, additions, weights
apart) fit better and predict a left-out network worse on at least one of Pixel 1, 2 and 3.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from latency_luts.table import NetworkFit
from search_spaces import cost
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower
from search_spaces.ops import Conv, Dropout

__all__ = ["FEATURES", "cost_vector", "features", "fit", "network_features", "non_negative_least_squares"]

FEATURES = ("dense_madd", "depthwise_madd", "byte", "operator")

_BYTES = 4  # float32


def features(unit: Unit) -> np.ndarray:
    """(4,) how many of each of `FEATURES` `unit` has."""
    dense = depthwise = values = operators = 0
    for node in unit.nodes:
        if isinstance(node.op, Dropout):
            continue
        if isinstance(node.op, Conv) and node.op.groups > 1:
            depthwise += cost.node_madds(node)
        else:
            dense += cost.node_madds(node)
        values += sum(map(prod, node.in_shapes)) + prod(node.out_shape) + cost.node_params(node)
        operators += 1
    return np.array([dense, depthwise, values * _BYTES, operators], dtype=np.float64)


def network_features(arch: Arch) -> np.ndarray:
    """(4,) the sum of `features` over the units of `arch`."""
    return np.sum([features(unit) for unit in lower(arch)], axis=0)


def cost_vector(costs: Mapping[str, float]) -> np.ndarray:
    """(4,) milliseconds for one of each of `FEATURES`."""
    return np.array([costs[name] for name in FEATURES])


def fit(archs: Sequence[Arch], ms: Sequence[float]) -> tuple[dict[str, float], tuple[NetworkFit, ...]]:
    """Costs that minimise the squared *relative* errors, and how each network comes out with and without itself.

    Raises:
        ValueError: not more networks than coefficients, or a latency that is not positive.
    """
    if len(archs) <= len(FEATURES):
        raise ValueError(f"{len(archs)} networks for {len(FEATURES)} coefficients; give at least {len(FEATURES) + 1}")
    if min(ms) <= 0:
        raise ValueError(f"a latency is {min(ms)} ms; latencies must be above 0")
    x = np.stack([network_features(arch) for arch in archs])
    y = np.asarray(ms, dtype=np.float64)
    costs = _fit(x, y)
    networks = []
    for i, arch in enumerate(archs):
        others = np.arange(len(y)) != i
        left_out = float(x[i] @ _fit(x[others], y[others]))
        networks.append(NetworkFit(name=arch.name, ms=float(y[i]), fitted_ms=float(x[i] @ costs), left_out_ms=left_out))
    return dict(zip(FEATURES, costs.tolist(), strict=True)), tuple(networks)


def _fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    scale = x.max(axis=0)
    return non_negative_least_squares(x / scale / y[:, None], np.ones_like(y)) / scale


def non_negative_least_squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(k,) the x >= 0 that minimises \\|a x - b\\|, by trying every set of positive coefficients (exact; k <= 10)."""
    k = a.shape[1]
    best, best_error = np.zeros(k), float(b @ b)
    for mask in range(1, 2**k):
        chosen = [i for i in range(k) if mask >> i & 1]
        x = np.linalg.lstsq(a[:, chosen], b, rcond=None)[0]
        residual = a[:, chosen] @ x - b
        if (x >= 0).all() and residual @ residual < best_error:
            best, best_error = np.zeros(k), float(residual @ residual)
            best[chosen] = x
    return best

"""A latency model for a device that is not at hand, fitted to published latencies of whole networks.

A unit costs a non-negative amount

- for each multiply-add of a dense operator (convolutions, linear layers),
- for each row that a depthwise convolution reads: channels times output rows times kernel rows, since mobile kernels
  go through the image row by row and small images have short rows,
- for each byte of activations that its operators read and write,
- for each operator, whatever its size.

Latencies of another set-up (another version of the runtime, say) are all that times a factor of the set-up's own.
Four coefficients and the factors minimise the mean *absolute* relative error: published numbers hold a few odd ones,
which squares would follow.

The form was chosen among fifty by the leave-one-out errors of Pixel 1, 2 and 3 (4.5, 3.7 and 5.0 %), which are
therefore a little small; with whole families left out they are 5.5, 3.9 and 5.1 %. `experiments.calibration_forms` has
both beside those of other forms, and on eight cores of phones that took no part in the choice (3.0 and 5.2 %): costs
for a multiply-add of a depthwise convolution or for a byte of weights, a price of its own for k x k convolutions, and a
roofline, max(multiply-adds / peak, bytes / bandwidth) of each operator. None is better on all four.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from latency_luts.table import NetworkFit
from search_spaces import cost, zoo
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower
from search_spaces.ops import Conv, Dropout

__all__ = [
    "FEATURES",
    "Calibration",
    "called",
    "features",
    "fit",
    "left_out",
    "network_features",
    "non_negative_least_squares",
]

FEATURES = ("dense_madd", "depthwise_row", "activation_byte", "operator")

_ITERATIONS = 40
_SMALL_ERROR = 0.02  # relative errors below it weigh as squares do

_BYTES = 4  # float32


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Milliseconds for one of each of `FEATURES`, the factor of each source set, and how each network comes out."""

    costs: Mapping[str, float]
    factors: Mapping[str, float]
    networks: tuple[NetworkFit, ...]


def features(unit: Unit) -> np.ndarray:
    """(4,) how many of each of `FEATURES` `unit` has."""
    dense = rows = values = operators = 0
    for node in unit.nodes:
        if isinstance(node.op, Dropout):
            continue
        if isinstance(node.op, Conv) and node.op.depthwise:
            channels, height, _ = node.out_shape
            rows += channels * height * node.op.size[0]
        else:
            dense += cost.node_madds(node)
        values += sum(map(prod, node.in_shapes)) + prod(node.out_shape)
        operators += 1
    return np.array([dense, rows, values * _BYTES, operators], dtype=np.float64)


def network_features(arch: Arch) -> np.ndarray:
    """(4,) the sum of `features` over the units of `arch`."""
    return np.sum([features(unit) for unit in lower(arch)], axis=0)


def fit(
    archs: Sequence[Arch],
    ms: Sequence[float],
    source_sets: Sequence[str] = (),
    *,
    reference: str = "",
    families: Sequence[str] = (),
) -> Calibration:
    """Costs and factors that minimise the absolute relative errors, and how each network comes out.

    A network's ``left_out_ms`` comes from a fit without any row of that network, in whichever source set, and its
    ``family_out_ms`` from one without any network of its family (`zoo.family`). That is None in a source set which no
    other family has, whose factor nobody would know then, or where the other networks are fewer than the coefficients.

    Args:
        archs, ms: networks and their latencies.
        source_sets: where each latency is from; one set if empty.
        reference: the set whose factor is 1.
        families: of the networks; those of `zoo.family` if empty.

    Raises:
        ValueError: not more networks than coefficients, a latency that is not positive, no latency of `reference`, or a
            set with one network only, whose factor and error cannot both be known.
    """
    sets = list(source_sets) or [reference] * len(archs)
    names = sorted(set(sets))
    _check(archs, ms, sets, reference)
    x = np.stack([network_features(arch) for arch in archs])
    y = np.asarray(ms, dtype=np.float64)
    s = np.array([names.index(name) for name in sets])
    first = names.index(reference)
    costs, factors = _fit(x, y, s, len(names), first)
    fitted_ms = factors[s] * (x @ costs)
    alike = list(map(tuple, x.tolist()))  # what the formula cannot tell apart is left out together
    left_out_ms = left_out(x, y, s, archs, first=first, groups=alike)
    families = families or [zoo.family(arch.name) for arch in archs]
    family_out_ms = left_out(x, y, s, archs, first=first, groups=families)
    networks = [
        NetworkFit(
            name=called(arch),
            ms=float(y[i]),
            fitted_ms=float(fitted_ms[i]),
            left_out_ms=float(left_out_ms[i]),
            source_set=sets[i],
            family=families[i],
            family_out_ms=None if np.isnan(family_out_ms[i]) else float(family_out_ms[i]),
        )
        for i, arch in enumerate(archs)
    ]
    return Calibration(
        costs=dict(zip(FEATURES, costs.tolist(), strict=True)),
        factors=dict(zip(names, factors.tolist(), strict=True)),
        networks=tuple(networks),
    )


def _check(archs: Sequence[Arch], ms: Sequence[float], sets: Sequence[str], reference: str) -> None:
    """See `fit`."""
    names = sorted(set(sets))
    different, unknowns = len(set(archs)), len(FEATURES) + len(names) - 1
    if different <= unknowns:
        raise ValueError(f"{different} different networks for {unknowns} coefficients; give at least {unknowns + 1}")
    if min(ms) <= 0:
        raise ValueError(f"a latency is {min(ms)} ms; latencies must be above 0")
    if reference not in names:
        raise ValueError(f"no latency is of the reference set {reference!r}; there are: {', '.join(names)}")
    for name in names:
        if len({arch for arch, its in zip(archs, sets, strict=True) if its == name}) < 2:
            raise ValueError(f"source set {name!r} has one network only; give at least 2 of each set, or none")


def called(arch: Arch) -> str:
    """A network's name, with its resolution where that is another than 224 px."""
    return f"{arch.name} @{arch.resolution_px}" if arch.resolution_px != 224 else arch.name


def left_out(
    x: np.ndarray, y: np.ndarray, s: np.ndarray, archs: Sequence[Arch], *, first: int, groups: Sequence[Hashable]
) -> np.ndarray:
    """(n,) latencies of networks by fits without their whole group; NaN in a set that the others do not have, and where
    the others are fewer networks than coefficients.

    Args:
        x, y, s: features (n, k), latencies (n,) and sets (n,) of `archs`.
        first: the set whose factor is 1.
        groups: of each network.
    """
    ms = np.full(len(y), np.nan)
    for group in dict.fromkeys(groups):
        others = np.array([other != group for other in groups])
        sets, its = np.unique(s[others], return_inverse=True)
        if len({arch for arch, kept in zip(archs, others, strict=True) if kept}) < x.shape[1] + len(sets) - 1:
            continue
        costs, factors = _fit(x[others], y[others], its, len(sets), int(np.searchsorted(sets, first)) % len(sets))
        for k, name in enumerate(sets):
            left = ~others & (s == name)
            ms[left] = factors[k] * (x[left] @ costs)
    return ms


def _fit(x: np.ndarray, y: np.ndarray, s: np.ndarray, sets: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Costs (k,) and factors (sets,) for features x (n, k), latencies y (n,), sets s (n,): iteratively reweighted
    non-negative least squares, factors and costs in turn."""
    scale = x.max(axis=0)
    scale[scale == 0] = 1  # of what no network has, as depthwise convolutions: free
    factors, weights = np.ones(sets), np.ones(len(y))
    costs = np.zeros(x.shape[1])
    for _ in range(_ITERATIONS):
        root = np.sqrt(weights)
        costs = non_negative_least_squares(x / scale * (factors[s] / y * root)[:, None], root) / scale
        ratio = x @ costs / y
        for k in range(sets):
            its = s == k
            factors[k] = (weights * ratio)[its].sum() / (weights * ratio**2)[its].sum()
        factors /= factors[first]
        weights = 1 / np.maximum(np.abs(factors[s] * ratio - 1), _SMALL_ERROR)
    return costs, factors


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

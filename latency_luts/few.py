"""A table from few latencies: with a prior (`latency_luts.prior`) that says what devices are like."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np

from latency_luts import prior as priors
from latency_luts.calibrated import called
from latency_luts.prior import Posterior, Prior
from latency_luts.table import CalibratedTable, Doubt, NetworkFit
from latency_luts.work import kinds_of
from search_spaces import zoo
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["check_speed", "fit_few", "next_network"]

_UNITS = {"milliseconds": 1.0, "microseconds": 1e-3, "seconds": 1e3}
_STRANGE = 4.0  # deviations of the prior from which a device is none of its kind
_NORMAL_90 = 1.645  # deviations of a normal distribution that hold 90 %
_AS_SURE = 4.0  # networks that other devices count as
_NEXT = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mnasnet_b1", "squeezenet_1_1")
_WIDTHS = (0.5, 1.0)


def fit_few(
    device: str,
    archs: Sequence[Arch],
    ms: Sequence[float],
    prior: Prior,
    *,
    families: Sequence[str] = (),
    without: Callable[[np.ndarray], Prior] | None = None,
    made_by: str = "",
) -> CalibratedTable:
    """The table of `device` by the latencies of one network or more, and the prior.

    Args:
        families: of the networks; those of `zoo.family` if empty.
        without: gives the prior without the networks (n,) that are left out, too; None: it stays as it is.
    """
    x, y = np.array([priors.network_features(arch) for arch in archs]), np.array(ms, dtype=np.float64)
    its = priors.posterior(prior, x, y)
    fitted_ms, _ = its.predict(x)
    families = families or [zoo.family(arch.name) for arch in archs]

    alike = [tuple(row) for row in x.tolist()]  # what the formula cannot tell apart is left out together
    begun = without or (lambda networks: prior)
    (left_out_ms, doubts), (family_out_ms, _) = (_left_out(begun, x, y, groups) for groups in (alike, families))
    several = len(set(families)) > 1
    networks = [
        NetworkFit(
            name=called(arch),
            ms=float(y[i]),
            fitted_ms=float(fitted_ms[i]),
            left_out_ms=float(left_out_ms[i]),
            family=families[i],
            family_out_ms=float(family_out_ms[i]) if several else None,
        )
        for i, arch in enumerate(archs)
    ]
    error, deviations = prior.expected(len(ms))
    if len(set(alike)) > 1:
        deviations *= _wider(np.log(y / left_out_ms) / doubts, deviations)
    return CalibratedTable(
        device=device,
        provenance={
            "command": made_by,
            "date": datetime.now(UTC).date().isoformat(),
            "fitted_to": f"{len(ms)} latenc{'ies' if len(ms) > 1 else 'y'}, with the prior of {prior.about}",
            "kinds": sorted({*prior.kinds, *kinds_of(unit for arch in archs for unit in lower(arch))}),
            "set_up": "as the latencies are",
            "dtype": "int8" if prior.name.endswith("_int8") else "fp32",
        },
        costs=dict(zip(priors.FEATURES, np.exp(its.mean).tolist(), strict=True)),
        networks=tuple(networks),
        doubt=Doubt(
            prior=prior.name,
            covariance=tuple(map(tuple, its.covariance.tolist())),
            noise=its.noise,
            expected_error=error,
            deviations=deviations,
        ),
    )


def _left_out(
    begun: Callable[[np.ndarray], Prior], x: np.ndarray, ms: np.ndarray, groups: Sequence[object]
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) latencies of networks by fits without their whole group, and (n,) the deviations of their logarithms."""
    found, deviations = np.zeros(len(ms)), np.zeros(len(ms))
    for group in dict.fromkeys(groups):
        mine = np.array([other == group for other in groups])
        found[mine], deviations[mine] = priors.posterior(begun(mine), x[~mine], ms[~mine]).predict(x[mine])
    return found, deviations


def _wider(off: np.ndarray, deviations: float) -> float:
    """By how much intervals have to be wider than on other devices, 1 or more: latencies that contradict the prior, or
    each other, are further off where they are left out.

    The scale of a normal distribution, of which `_AS_SURE` networks were seen as far off as on other devices.

    Args:
        off: (n,) deviations by which latencies are off, each left out.
        deviations: that hold 90 % on other devices.
    """
    squares = (off * _NORMAL_90 / deviations) ** 2
    return max(1.0, float(np.sqrt((_AS_SURE + squares.sum()) / (_AS_SURE + len(off)))))


def check_speed(archs: Sequence[Arch], ms: Sequence[float], kinds: Sequence[Prior]) -> None:
    """Refuses latencies that no device of any of the kinds could have, as those in another unit.

    Raises:
        ValueError: they are so far from all that the priors have seen.
    """
    x = np.array([priors.network_features(arch) for arch in archs])
    ranges, units = [], set[str]()
    for prior in kinds:
        usual_ms, deviations = priors.posterior(prior, x[:0], np.zeros(0)).predict(x)
        for unit, factor in _UNITS.items():
            if abs(np.median(np.log(np.asarray(ms) * factor / usual_ms) / deviations)) <= _STRANGE:
                units.add(unit)
        if "milliseconds" in units:
            return
        low, high = (usual_ms[0] * np.exp(sign * 2 * deviations[0]) for sign in (-1, 1))
        ranges.append(f"{low:.2g} to {high:.2g} ms on {prior.about}")
    like = f" (these would fit as {units.pop()})" if len(units) == 1 else ""
    raise ValueError(
        f"{archs[0].name} takes {ms[0]:,.6g} ms, and {' and '.join(ranges)}: latencies must be milliseconds{like}; if "
        "they are, it is another sort of device: give prior=null and 5 networks or more, or force=true"
    )


def next_network(device: Posterior, archs: Sequence[Arch]) -> tuple[str, float] | None:
    """The published network that would tell most if it were measured next, and by what share the doubt about published
    networks would be less; None if all are measured.

    Args:
        archs: that are measured.
    """
    pairs = [(name, width) for name in _NEXT for width in _WIDTHS if width == 1 or name != "squeezenet_1_1"]
    names = {name if width == 1 else f"{name} {width:g}": zoo.get(name, width=width) for name, width in pairs}
    left = {name: arch for name, arch in names.items() if arch not in archs}
    if not left:
        return None
    x = np.array([priors.network_features(arch) for arch in left.values()])
    best = device.most_telling(x, x)
    now, after = device.predict(x)[1], device.once(x[best]).predict(x)[1]
    return list(left)[best], float(1 - np.mean(after) / np.mean(now))

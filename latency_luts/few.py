"""A table from few latencies: with a prior (`latency_luts.prior`) that says what devices are like."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from latency_luts import prior as priors
from latency_luts.calibrated import called
from latency_luts.model import DEVIATIONS
from latency_luts.prior import Posterior, Prior
from latency_luts.table import CalibratedTable, Doubt, NetworkFit
from latency_luts.work import kinds_of
from search_spaces import zoo
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["check_speed", "fit_few", "known", "next_network"]

_STRANGE = 4.0  # deviations of the prior from which a device is none of its kind
_NEXT = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mnasnet_b1", "squeezenet_1_1")
_WIDTHS = (0.5, 1.0)


def fit_few(
    device: str, archs: Sequence[Arch], ms: Sequence[float], prior: Prior, *, made_by: str = ""
) -> CalibratedTable:
    """The table of `device` by the latencies of one network or more, and the prior."""
    x, y = np.array([priors.network_features(arch) for arch in archs]), np.array(ms, dtype=np.float64)
    its = priors.posterior(prior, x, y)
    fitted_ms, _ = its.predict(x)
    families = [zoo.family(arch.name) for arch in archs]
    left_out_ms = _left_out(prior, x, y, [str(i) for i in range(len(y))])
    family_out_ms = _left_out(prior, x, y, families)
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
    return CalibratedTable(
        device=device,
        provenance={
            "command": made_by,
            "date": datetime.now(UTC).date().isoformat(),
            "fitted_to": f"{len(ms)} latenc{'ies' if len(ms) > 1 else 'y'}, beginning with the prior {prior.name}",
            "kinds": sorted({*prior.kinds, *kinds_of(unit for arch in archs for unit in lower(arch))}),
            "set_up": f"as of {prior.name}",
        },
        costs=dict(zip(priors.FEATURES, np.exp(its.mean).tolist(), strict=True)),
        networks=tuple(networks),
        doubt=Doubt(
            prior=prior.name,
            covariance=tuple(map(tuple, its.covariance.tolist())),
            noise=its.noise,
            expected_error=prior.expected_error(len(ms)),
        ),
    )


def known(table: CalibratedTable) -> Posterior:
    """What a table with a prior knows of its device."""
    assert table.doubt
    return Posterior(
        mean=np.log([table.costs[name] for name in priors.FEATURES]),
        covariance=np.array(table.doubt.covariance),
        noise=table.doubt.noise,
    )


def _left_out(prior: Prior, x: np.ndarray, ms: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """(n,) latencies by fits without a network's whole group."""
    found = np.zeros(len(ms))
    for group in dict.fromkeys(groups):
        mine = np.array([other == group for other in groups])
        found[mine], _ = priors.posterior(prior, x[~mine], ms[~mine]).predict(x[mine])
    return found


def check_speed(archs: Sequence[Arch], ms: Sequence[float], prior: Prior) -> None:
    """Refuses latencies that no device of the kind could have, as those in another unit.

    Raises:
        ValueError: they are so far from all that the prior has seen.
    """
    x = np.array([priors.network_features(arch) for arch in archs])
    usual = Posterior(mean=prior.mean, covariance=prior.covariance, noise=prior.noise)
    usual_ms, deviations = usual.predict(x)
    off = np.log(np.asarray(ms) / usual_ms) / deviations
    if abs(np.median(off)) > _STRANGE:
        i = int(np.argsort(np.abs(off))[len(off) // 2])
        low, high = (usual_ms[i] * np.exp(sign * DEVIATIONS * deviations[i]) for sign in (-1, 1))
        raise ValueError(
            f"{archs[i].name} takes {ms[i]:.3g} ms, and on devices of prior={prior.name} {low:.2g} to {high:.2g} ms: "
            "latencies must be milliseconds; if they are, give prior=null and more networks, or force=true"
        )


def next_network(device: Posterior, archs: Sequence[Arch]) -> tuple[str, float]:
    """The published network that would tell most if it were measured next, and by what share the doubt about published
    networks would be less.

    Args:
        archs: that are measured.
    """
    pairs = [(name, width) for name in _NEXT for width in _WIDTHS if width == 1 or name != "squeezenet_1_1"]
    names = {name if width == 1 else f"{name} {width:g}": zoo.get(name, width=width) for name, width in pairs}
    left = {name: arch for name, arch in names.items() if arch not in archs}
    x = np.array([priors.network_features(arch) for arch in left.values()])
    best = device.most_telling(x, x)
    now, after = device.predict(x)[1], device.once(x[best]).predict(x)[1]
    return list(left)[best], float(1 - np.mean(after) / np.mean(now))

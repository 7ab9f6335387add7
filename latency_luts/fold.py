"""From measurements to a table: `fold`."""

import logging
import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np

from latency_luts import residence
from latency_luts.correction import FEWEST, fit_correction
from latency_luts.key import key, parse
from latency_luts.measurements import ChainTiming, Measurements
from latency_luts.origin import Corrected
from latency_luts.runtime import RUNTIMES
from latency_luts.speed import slowness
from latency_luts.table import ONNXRUNTIME, Correction, Identity, MeasuredTable, NetworkFit, Timing
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower

__all__ = [
    "CONTEXTS",
    "NOISY",
    "contexts_of",
    "differ",
    "fold",
    "from_memory",
    "is_corrected",
    "middle",
    "what_weights_save",
]

log = logging.getLogger(__name__)

CONTEXTS = 7  # how many times a unit is timed, each time in another chain
LEAST_NEIGHBOURS = 8  # units of the table, measured beside new ones, that say how fast the machine is now
NOISY = 0.15  # units whose contexts' middle half spans more are measured again, then marked
BEST = 0.1  # of the moments: a new table has the machine's speed in these
_STATISTIC = (
    "fastest run of each kernel, profiled inside networks, middle mean over networks and moments, with weights from "
    "memory"
)
_STATISTIC_OF_BLOCKS = "fastest run of each block inside networks, middle mean over networks and moments"
_STATISTIC_OF_CALLS = "fastest call of each unit by itself, middle mean over moments"
ROUNDS = 4  # iterations of medians in turn; converged by then


def fold(
    device: str,
    how: Identity,
    old: MeasuredTable | None,
    measured: Measurements,
    units: set[Unit],
    networks: dict[str, Arch],
    *,
    here: bool,
) -> MeasuredTable:
    """The table of what was measured before and now; latencies at the machine's speed of the first build."""
    speed = _speed(measured)
    base = old.reference_ms if old else speed.best
    contexts = contexts_of(measured, how.dtype)
    before = old.correction if old else Correction(saved_by_mib_ms=what_weights_save(contexts))
    times_ms = from_memory(contexts, before.saved_by_mib_ms, cache_mib=before.cache_mib, scale=base / speed.middle)
    slower = _slower({name: middle(ms) for name, ms in times_ms.items()}, old) if old else 1.0
    timings = dict(old.units) if old else {}
    whole = {name for name in measured.wanted if len(contexts[name]) >= CONTEXTS}  # of a build that was interrupted
    new = ({key(unit) for unit in units} | whole) - set(timings)
    timings |= {name: _timing(contexts[name], times_ms[name], slower) for name in new}
    noisy = sum(differ(times_ms[name]) for name in new)
    if noisy > len(units) / 4 or speed.drift > 0.3:
        log.warning(
            "the machine was busy: its speed varied by %.0f %%, and %d of %d units by more than %.0f %%; %s "
            "when it is quiet", speed.drift * 100, noisy, len(units), NOISY * 100,
            "build again with fresh=true" if here else "measure it again")  # fmt: skip
    provenance = {
        "command": f"python -m latency_luts.build device={device}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.platform() if here else how.cpu,
        "statistic": _statistic(how.runtime_name),
        "reference_ms": base,
        "log": measured.id,
        "median_spread": round(float(np.median([t.spread for t in timings.values()])), 4),
        **_doubts(old, speed.drift, noisy),
    }
    table = MeasuredTable(device=device, identity=how, provenance=provenance, units=timings, correction=before)
    if old and (is_corrected(old) or not networks):  # to networks of its own, or validated with this correction
        return replace(table, provenance=provenance | _corrected(old), networks=old.networks, validation=old.validation)
    took_ms = _took_ms(measured, old, base, slower)
    correction, fits = _fitted(old.networks if old else (), networks, took_ms, timings, before, how.dtype)
    return replace(table, correction=correction, networks=fits)


def _statistic(runtime: str) -> str:
    """What a unit's time is, in words."""
    if runtime == ONNXRUNTIME:
        return _STATISTIC
    return _STATISTIC_OF_BLOCKS if hasattr(RUNTIMES.get(runtime), "prepare_blocks") else _STATISTIC_OF_CALLS


@dataclass(frozen=True, kw_only=True)
class _Speed:
    """How fast the machine was, by what the references took: at its best moments and at the middle one, ms; and by how
    much it varied, 0.1 is 10 %."""

    best: float
    middle: float
    drift: float


def _speed(measured: Measurements) -> _Speed:
    turns = [timing for timings in measured.networks.values() for timing in timings]
    seen = [item.reference_ms for item in (*measured.chains, *turns)]
    slowest, fastest = np.quantile(seen, (0.975, 0.025))  # a moment's disturbance harms nothing
    return _Speed(
        best=float(np.quantile(seen, BEST)),
        middle=float(np.median([chain.reference_ms for chain in measured.chains] or seen)),
        drift=float(slowest / fastest) - 1,
    )


def _doubts(old: MeasuredTable | None, drift: float, noisy: int) -> dict[str, Any]:
    """Of a table, also about units that stay as they were."""
    before = old.timed.drift if old and old.timed else 0.0
    return {
        "drift": round(max(drift, before), 3),
        "noisy_units": noisy + (old.provenance.get("noisy_units", 0) if old else 0),
    }


def _took_ms(measured: Measurements, old: MeasuredTable | None, base: float, slower: float) -> dict[str, float]:
    """Each network's ms, at the speed `base` of the table."""
    took_ms = {name: middle([t.ms * base / t.reference_ms for t in its]) for name, its in measured.networks.items()}
    if old is None:
        return took_ms
    known_ms = {fit.name: took_ms[fit.name] for fit in old.networks if fit.name in took_ms}
    now = slowness(old, known_ms, base * slower)
    return {name: ms / now for name, ms in took_ms.items()}


def is_corrected(table: MeasuredTable) -> bool:
    """Whether `latency_luts.calibrate` has corrected it to networks that were timed on its device."""
    return isinstance(table.origin, Corrected)


def _corrected(table: MeasuredTable) -> dict[str, Any]:
    return {name: value for name, value in table.provenance.items() if name.startswith("corrected_")}


def _timing(contexts: Sequence["Context"], times_ms: Sequence[float], slower: float) -> Timing:
    """Of a unit, from every time it was timed, on a machine that is `slower` than the table's."""
    return Timing(
        ms=round(middle(times_ms) / slower, 6),
        spread=round(float(np.median([t.spread for t in contexts])), 4),
        runs=sum(t.runs for t in contexts),
        kernels=round(float(np.median([t.kernels for t in contexts]))),
    )


def _fitted(
    fits: Sequence[NetworkFit],
    networks: Mapping[str, Arch],
    took_ms: Mapping[str, float],
    timings: Mapping[str, Timing],
    before: Correction,
    dtype: str,
) -> tuple[Correction, tuple[NetworkFit, ...]]:
    """The correction that fits networks of before and `networks`, which took `took_ms`; what weights save is as in the
    correction `before`."""
    names, whole_ms = [fit.name for fit in fits], [fit.ms for fit in fits]
    sums_ms, kernels = [fit.sum_ms for fit in fits], [fit.kernels for fit in fits]
    made_of = {fit.name: fit.units for fit in fits}
    for name, arch in networks.items():
        made_of[name] = tuple(map(key, lower(arch)))
        its = [timings[unit] for unit in made_of[name]]
        mib = sum(_mib(unit, dtype) for unit in made_of[name])
        names.append(name)
        whole_ms.append(took_ms[name])
        sums_ms.append(sum(t.ms for t in its) - float(before.saved_ms(mib)))
        kernels.append(sum(t.kernels for t in its))
    if len(names) < FEWEST:
        return before, ()
    correction, fitted = fit_correction(names, sums_ms, whole_ms, kernels)
    correction = replace(correction, saved_by_mib_ms=before.saved_by_mib_ms, cache_mib=before.cache_mib)
    return correction, tuple(replace(fit, units=made_of[fit.name]) for fit in fitted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """A time that a unit was timed.

    Attributes:
        ms: at the machine's median speed; its `spread`, `runs` and `kernels`.
        mib, chain_mib: MiB of the weights of the unit and of its chain.
    """

    ms: float
    spread: float
    runs: int
    kernels: int
    mib: float
    chain_mib: float


def contexts_of(measured: Measurements, dtype: str) -> dict[str, list[Context]]:
    """Key of a unit to every time it was timed."""
    found = defaultdict(list)
    for chain, speed in zip(measured.chains, _speeds(measured.chains), strict=True):
        mib = [_mib(name, dtype) for name in chain.keys]
        chain_mib = sum(mib)
        for i, name in enumerate(chain.keys):
            found[name].append(
                Context(
                    ms=chain.ms[i] / speed,
                    spread=chain.spread[i],
                    runs=chain.runs,
                    kernels=chain.kernels[i],
                    mib=mib[i],
                    chain_mib=chain_mib,
                )
            )
    return found


def what_weights_save(contexts: Mapping[str, Sequence[Context]]) -> float:
    """See `residence.saved_by_mib_ms`."""
    return residence.saved_by_mib_ms(
        (times[0].mib, [t.ms for t in times], [t.chain_mib for t in times]) for times in contexts.values()
    )


def from_memory(
    contexts: Mapping[str, Sequence[Context]],
    saved_by_mib_ms: float,
    *,
    cache_mib: float = residence.CACHE_MIB,
    scale: float = 1.0,
) -> dict[str, list[float]]:
    """Key of a unit to its ms, times `scale`, as if all weights came from memory."""
    return {
        name: [t.ms * scale + saved_by_mib_ms * t.mib * float(residence.share(t.chain_mib, cache_mib)) for t in times]
        for name, times in contexts.items()
    }


@cache
def _mib(name: str, dtype: str) -> float:
    return residence.weights_mib(parse(name), dtype)


def _speeds(chains: Sequence[ChainTiming]) -> np.ndarray:
    """How slow the machine was for each of `chains`, relative to the middle one: what the references say, and beyond
    that what the units say that were also timed at other moments. Chains that took turns share their references' time,
    by which they are known; medians over units and over moments, in turns, tell the two apart."""
    if not chains:
        return np.ones(0)
    references = np.array([chain.reference_ms for chain in chains])
    names, unit = np.unique([name for chain in chains for name in chain.keys], return_inverse=True)
    moments, of_chain = np.unique(references, return_inverse=True)
    moment = np.repeat(of_chain, [len(chain.keys) for chain in chains])
    slow = moments / np.median(references)
    ms = np.array([ms for chain in chains for ms in chain.ms])
    says = (ms > 0) & (_numbers(moment, unit, len(names)) > 1)[unit]
    moment, unit, ms = moment[says], unit[says], np.log(ms[says])
    for _ in range(ROUNDS):
        apart = ms - np.log(slow)[moment]
        apart -= _medians(apart, unit, len(names))[unit]
        slow = slow * np.exp(_medians(apart, moment, len(moments)))
    slow = slow[of_chain]
    return slow / np.median(slow)


def _numbers(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """(groups,) how many different values each group has."""
    return np.bincount(np.unique(np.stack([group, values]), axis=1)[0], minlength=groups)


def _medians(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """(groups,) each group's median; 0 for an empty one."""
    order = np.argsort(group, kind="stable")
    parts = np.split(values[order], np.searchsorted(group[order], np.arange(1, groups)))
    return np.array([np.median(part) if part.size else 0.0 for part in parts])


def _slower(unit_ms: Mapping[str, float], old: MeasuredTable) -> float:
    """How much slower than in the table its own units were now, in the same chains as new ones, beyond what the
    reference network says (other programs slow down some kernels more than it): a median; 1 if there were too few."""
    ratios = [ms / old.units[name].ms for name, ms in unit_ms.items() if name in old.units and old.units[name].ms]
    return float(np.median(ratios)) if len(ratios) >= LEAST_NEIGHBOURS else 1.0


def middle(values: Sequence[float]) -> float:
    """The mean without the lowest and the highest quarter (rounded down): as safe from a disturbed moment as a median,
    and varies less."""
    ordered = np.sort(values)
    out = len(ordered) // 4
    return float(ordered[out : len(ordered) - out].mean())


def differ(ms: Sequence[float]) -> bool:
    """Whether a unit's times in several chains are too far apart to be trusted."""
    low, middle, high = np.quantile(ms, (0.25, 0.5, 0.75))
    return bool(high - low > max(NOISY * middle, 0.005))

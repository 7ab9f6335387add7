"""What a build has to measure, and how: units in chains, and whole networks in turns between them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latency_luts.chains import cover
from latency_luts.fold import CONTEXTS, NOISY, contexts_of, differ, from_memory, is_corrected, what_weights_save
from latency_luts.key import key, parse
from latency_luts.log import Log
from latency_luts.measure import Bench
from latency_luts.progress import Bar
from latency_luts.schedule import (
    BURSTS,
    CHAINS_TOGETHER,
    NETWORK_BURSTS,
    NETWORK_TURNS,
    NETWORKS_TOGETHER,
    network_name,
    together,
)
from latency_luts.speed import known_networks
from latency_luts.table import MeasuredTable
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower

__all__ = ["FIT_CHAINS", "Due", "lacking", "measure_due"]

log = logging.getLogger(__name__)

# when a table gets units later, the correction is fitted anew to so many networks, each of so many units
FIT_CHAINS, UNITS_A_FIT_CHAIN = 24, 16


@dataclass(frozen=True, kw_only=True)
class Due:
    """What is to be measured.

    Attributes:
        units: that the table lacks.
        neighbours: units of the table, which stand beside new ones in chains.
        networks: that the correction is fitted to, beside those of the table.
        known: some networks of the table, which say how fast the machine is now.
    """

    units: set[Unit]
    neighbours: set[Unit]
    networks: dict[str, Arch]
    known: dict[str, Arch]


def lacking(old: MeasuredTable | None, units: set[Unit], networks: Mapping[str, Arch]) -> Due:
    """What the table `old` lacks of `units` and `networks`."""
    if old is None:
        return Due(units=units, neighbours=set(), networks=dict(networks), known={})
    new_units = {unit for unit in units if key(unit) not in old.units}
    neighbours = {parse(name) for name in old.units}
    if is_corrected(old):  # to networks of its own; others would change nothing
        return Due(units=new_units, neighbours=neighbours, networks={}, known={})
    fitted = {fit.name for fit in old.networks}
    others = {name: arch for name, arch in networks.items() if name not in fitted}
    others = others or _chains_to_fit(new_units, neighbours)
    known = known_networks(old) if others else {}
    return Due(units=new_units, neighbours=neighbours, networks=others, known=known)


def _chains_to_fit(units: set[Unit], neighbours: set[Unit]) -> dict[str, Arch]:
    """Networks made of units that a table gets later, for its correction: one fitted to small networks alone may be
    several per cent off for large ones. The same ones for the same units; none for a handful of units."""
    number = min(FIT_CHAINS, len(units) // UNITS_A_FIT_CHAIN)
    if not number:
        return {}
    known = units | neighbours
    done = {unit: int(unit in neighbours) for unit in known}
    rng = np.random.default_rng(len(units))
    found = [chain for chain in cover(known, rng, done=done) if chain.in_ch == 3 and known.issuperset(lower(chain))]
    return {network_name(found[i]): found[i] for i in rng.permutation(len(found))[:number]}


def measure_due(due: Due, measured: Log, machine: Bench, bar: Bar) -> None:
    """Times chains until each unit that is due was timed often enough, and once more where its times differ much; the
    networks between them."""
    measured.want(map(key, due.units))
    turns = _NetworkTurns(due.known | due.networks, measured, machine)
    chains = _chains(due.units, due.neighbours, CONTEXTS, measured)
    _time_chains(chains, f"{len(due.units)} units", measured, machine, turns, bar)
    if unsure := _unsure(due.units, measured):
        log.info(
            "%d units differ by more than %.0f %% from chain to chain and are timed again", len(unsure), NOISY * 100
        )
        chains = _chains(unsure, (due.units | due.neighbours) - unsure, CONTEXTS + 2, measured)
        _time_chains(chains, f"{len(unsure)} units again", measured, machine, turns, bar)
    turns.take(1.0)


def _unsure(units: set[Unit], measured: Log) -> set[Unit]:
    """Those of `units` whose times differ much from chain to chain."""
    contexts = contexts_of(measured, measured.identity.dtype)
    times_ms = from_memory(contexts, what_weights_save(contexts))
    return {unit for unit in units if differ(times_ms[key(unit)])}


def _chains(units: set[Unit], others: set[Unit], enough: int, measured: Log) -> list[Arch]:
    """Chains in which each of `units` is timed until that was done `enough` times; `others` may stand beside them."""
    done = contexts_of(measured, measured.identity.dtype)
    counts = {unit: len(done[key(unit)]) if unit in units else enough for unit in units | others}
    rng = np.random.default_rng(len(measured.chains))
    found = cover(list(counts), rng, contexts=enough, done=counts)
    return [found[i] for i in rng.permutation(len(found))]


def _time_chains(
    chains: Sequence[Arch],
    title: str,
    measured: Log,
    machine: Bench,
    turns: "_NetworkTurns",
    bar: Bar,
) -> None:
    bar(title, len(chains))
    timed = 0
    for group in together(chains, CHAINS_TOGETHER):
        measured.add_chains(machine.time_chains(group, bursts=BURSTS))
        timed += len(group)
        turns.take(timed / len(chains))
        bar("", len(group))


class _NetworkTurns:
    """Whole networks, timed in several turns between the chains: so both see the machine at the same moments."""

    def __init__(self, networks: dict[str, Arch], measured: Log, machine: Bench) -> None:
        self._networks, self._measured, self._machine = networks, measured, machine

    def take(self, share: float) -> None:
        """Takes the turns that are due when `share` of the chains is timed."""
        for turn in range(1, round(share * NETWORK_TURNS) + 1):
            due = {n: a for n, a in self._networks.items() if len(self._measured.networks.get(n, [])) < turn}
            names = iter(due)
            for group in together(list(due.values()), NETWORKS_TOGETHER):
                timings = self._machine.time_networks(group, bursts=NETWORK_BURSTS)
                self._measured.add_networks(dict(zip((next(names) for _ in group), timings, strict=True)))

"""What a build measures: units that a table lacks, often enough, and whole networks in turns between the chains."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from latency_luts import due
from latency_luts.due import FIT_CHAINS, Due, lacking, measure_due
from latency_luts.fold import CONTEXTS
from latency_luts.key import key
from latency_luts.log import Log
from latency_luts.schedule import NETWORK_TURNS, network_name
from latency_luts.table import NetworkFit
from search_spaces import spaces
from search_spaces.lower import lower
from tests.conftest import random_archs
from tests.fake_machine import HERE, FakeMachine, named
from tests.latency_tables import measured_table

ARCHS = random_archs(3, rng_seed=0)


def units_of(*archs) -> set:
    return {unit for arch in archs for unit in lower(arch)}


def fits(archs) -> tuple[NetworkFit, ...]:
    return tuple(
        NetworkFit(
            name=name, ms=float(i + 1), fitted_ms=1.0, left_out_ms=1.0, units=tuple(key(unit) for unit in lower(arch))
        )
        for i, (name, arch) in enumerate(named(archs).items())
    )


# ---- what is due


def test_a_new_table_lacks_everything():
    its = lacking(None, units_of(ARCHS[0]), named(ARCHS))
    assert its == Due(units=units_of(ARCHS[0]), neighbours=set(), networks=named(ARCHS), known={})


def test_a_table_lacks_units_and_networks_that_it_was_not_fitted_to():
    table = measured_table(ARCHS[:1], networks=fits(ARCHS[:1]))
    its = lacking(table, units_of(*ARCHS[:2]), named(ARCHS))
    assert its.units == units_of(ARCHS[1]) - units_of(ARCHS[0])
    assert its.neighbours == units_of(ARCHS[0])
    assert its.networks == {"n1": ARCHS[1], "n2": ARCHS[2]}
    assert its.known == {}  # it knows too few to say how fast the machine is


def test_a_corrected_table_lacks_units_only():
    """It was corrected to networks of its own; others would change nothing."""
    table = measured_table(ARCHS[:1], networks=fits(ARCHS[:1]))
    table = replace(table, provenance={"reference_ms": 1.0, "corrected_from": "rpi4", "corrected_to": "5 networks"})
    its = lacking(table, units_of(*ARCHS), named(ARCHS))
    assert (its.networks, its.known) == ({}, {})
    assert its.units == units_of(*ARCHS) - units_of(ARCHS[0])
    assert its.neighbours == units_of(ARCHS[0])


def test_for_many_new_units_networks_are_made_of_them():
    """One for 16 units, at most 24, of known units, beginning at an image; the same ones for the same units. Beside
    them some of the table's own are timed, if it knows enough."""
    archs = random_archs(9, rng_seed=1)
    table = measured_table(archs, networks=fits(archs))
    new = spaces.get("mnasnet", base_width=0.5, resolution_px=96).units() - units_of(*archs)
    its = lacking(table, new, {})
    assert len(its.networks) == FIT_CHAINS == 24
    for name, arch in its.networks.items():
        assert name == network_name(arch)
        assert arch.in_ch == 3
        assert units_of(arch) <= new | its.neighbours
    assert lacking(table, new, {}).networks == its.networks
    assert set(its.known) == {fit.name for fit in table.networks}
    some = set(sorted(new, key=key)[:47])
    assert len(lacking(table, some, {}).networks) <= 2
    few = lacking(table, set(sorted(new, key=key)[:15]), {})
    assert (few.networks, few.known) == ({}, {})


# ---- how it is measured


class Bar:
    """Titles, and how many chains were announced and done."""

    def __init__(self) -> None:
        self.titles, self.total, self.done = [], 0, 0

    def __call__(self, title, number):
        if title:
            self.titles.append(title)
            self.total += number
        else:
            self.done += number


@pytest.fixture
def log(tmp_path):
    its = Log(tmp_path / "measured.jsonl", HERE)
    with its.open():
        yield its


def counted(log: Log) -> Counter:
    return Counter(name for chain in log.chains for name in chain.keys)


def test_each_unit_is_timed_often_enough_and_networks_in_turns_between(log):
    units, machine, bar = units_of(*ARCHS), FakeMachine(), Bar()
    its = Due(units=units, neighbours=set(), networks={"a": ARCHS[0]}, known={"b": ARCHS[1]})
    measure_due(its, log, machine, bar)
    times = counted(log)
    assert min(times[key(unit)] for unit in units) >= CONTEXTS
    assert log.wanted == set(map(key, units))
    assert {name: len(timings) for name, timings in log.networks.items()} == {"a": NETWORK_TURNS, "b": NETWORK_TURNS}
    assert bar.titles == [f"{len(units)} units"]
    assert bar.total == bar.done == machine.chains == len(log.chains)
    again = FakeMachine()
    measure_due(its, log, again, Bar())
    assert (again.chains, again.networks) == (0, 0)


def test_units_whose_times_differ_are_timed_again(log):
    """Twice more than others, alone: their neighbours are known."""
    units = units_of(*ARCHS)
    noisy = key(sorted(units, key=key)[10])
    moments = iter([1.0, 2.0] * 1000)
    machine = FakeMachine(unit_ms=lambda name, call: next(moments) if name == noisy else 1.0)
    bar = Bar()
    measure_due(Due(units=units, neighbours=set(), networks={}, known={}), log, machine, bar)
    assert bar.titles == [f"{len(units)} units", "1 units again"]
    assert bar.total == bar.done == machine.chains
    assert counted(log)[noisy] == CONTEXTS + 2


def test_neighbours_stand_beside_new_units_but_are_not_due(log):
    new, old = units_of(ARCHS[0]) - units_of(ARCHS[1]), units_of(ARCHS[1])
    measure_due(Due(units=new, neighbours=old, networks={}, known={}), log, FakeMachine(), Bar())
    times = counted(log)
    assert min(times[key(unit)] for unit in new) >= CONTEXTS
    assert any(times[key(unit)] for unit in old)
    assert log.wanted == set(map(key, new))


@pytest.mark.parametrize(("share", "turns"), [(0.0, 0), (0.09, 0), (0.11, 1), (0.5, 2), (0.71, 4), (1.0, 5)])
def test_turns_come_with_the_share_of_chains_that_is_timed(share, turns):
    """Each network has as many as are due, whatever an interrupted build has left."""
    assert NETWORK_TURNS == 5
    asked = []
    measured = SimpleNamespace(networks={"a": ["one"]})

    def add(timings):
        for name, timing in timings.items():
            measured.networks.setdefault(name, []).append(timing)

    def time_networks(archs, *, bursts):
        asked.append([arch.name for arch in archs])
        return [arch.name for arch in archs]

    measured.add_networks = add
    archs = {name: replace(ARCHS[0], name=name) for name in "abc"}
    due._NetworkTurns(archs, measured, SimpleNamespace(time_networks=time_networks)).take(share)
    assert {name: len(measured.networks.get(name, [])) for name in "abc"} == {
        "a": max(1, turns), "b": turns, "c": turns,
    }  # fmt: skip
    assert asked == [["b", "c"], *[["a", "b", "c"]] * (turns - 1)][:turns]
    assert measured.networks["a"][1:] == ["a"] * max(0, turns - 1)


def test_chains_are_drawn_anew_where_some_were_measured(log):
    """By how many there are already: an interrupted build goes on with others."""
    units = units_of(*ARCHS)
    first = due._chains(units, set(), 2, log)
    assert [chain.blocks for chain in first] == [chain.blocks for chain in due._chains(units, set(), 2, log)]
    log.add_chains(FakeMachine().time_chains(first[:1], bursts=1))
    rest = due._chains(units, set(), 2, log)
    times = counted(log) + Counter(key(unit) for chain in rest for unit in lower(chain))
    assert min(times[key(unit)] for unit in units) >= 2
    assert np.mean([first[0].blocks == chain.blocks for chain in rest]) < 1

"""Builds on a machine whose speed varies."""

import numpy as np
import pytest

from latency_luts import build, due, fold, schedule
from latency_luts.key import key
from search_spaces import spaces
from search_spaces.lower import lower
from tests.conftest import random_archs
from tests.fake_machine import named


def test_a_machine_that_changes_its_speed_gives_the_same_table(tmp_path, fake):
    archs = random_archs(8, rng_seed=0)
    units = {each for arch in archs for each in lower(arch)}
    fake(slowness=lambda call: 1.4 if call % 3 == 1 else 1.0)
    table = build.build("host", units, named(archs), tmp_path / "host.json")
    ms = [timing.ms for timing in table.units.values()]
    assert max(ms) == pytest.approx(min(ms))
    assert table.provenance["drift"] == pytest.approx(0.4)
    assert max(abs(n.left_out_ms / n.ms - 1) for n in table.networks) < 1e-6


def test_moments_that_slow_down_units_more_than_the_references_are_found_out(tmp_path, fake):
    archs = random_archs(40, rng_seed=0)
    units = {each for arch in archs for each in lower(arch)}
    nothing = key(lower(archs[0])[2])  # its neighbours' kernels do all of it
    machine = fake(unit_ms=lambda name, call: 0.0 if name == nothing else 1.3 if call % 3 == 1 else 1.0)
    table = build.build("host", units, named(archs[:4]), tmp_path / "host.json")
    assert machine.calls > 6
    ms = [timing.ms for timing in table.units.values() if timing.ms]
    assert len(ms) == len(units) - 1
    assert max(ms) == pytest.approx(min(ms))


def test_later_units_are_scaled_to_the_table_s_speed(tmp_path, fake):
    a, b = random_archs(2, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    build.build("host", lower(a), named([a] * 4), path)
    fake(slowness=lambda call: 1.5)
    table = build.build("host", lower(b), {}, path)
    assert {timing.ms for timing in table.units.values()} == {1.0}


def test_later_units_are_scaled_by_those_of_the_table_beside_them(tmp_path, fake):
    archs = random_archs(8, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    old = build.build("host", {unit for arch in archs[:7] for unit in lower(arch)}, named(archs[:4]), path)
    machine = fake(unit_ms=lambda name, call: 1.05)  # which the reference network does not notice
    machine.network_ms = lambda arch: 1.05 * 1.1 * len(arch.blocks)
    table = build.build("host", {*lower(archs[7]), *spaces.get("mnasnet", resolution_px=64).units()}, {}, path)
    assert len(table.units) > len(old.units)
    assert {timing.ms for timing in table.units.values()} == {1.0}
    assert len(table.networks) == 4 + due.FIT_CHAINS
    assert max(abs(n.fitted_ms / n.ms - 1) for n in table.networks) < 1e-6
    assert [n.ms for n in table.networks[:4]] == [n.ms for n in old.networks]


def test_networks_of_a_table_that_grows_are_scaled_by_those_it_had(tmp_path, fake):
    """Whole networks are 4 % slower than at first, which neither units nor references notice."""
    small, large = (spaces.get("mnasnet", base_width=width, resolution_px=64) for width in (0.35, 1.0))
    archs = [small.decode(row) for row in small.sample(np.random.default_rng(0), 10)]
    path = tmp_path / "host.json"
    fake()
    first = build.build("host", small.units(), named(archs), path)
    machine = fake()
    machine.network_ms = lambda arch: 1.04 * 1.1 * len(arch.blocks)
    table = build.build("host", large.units(), {}, path)
    assert machine.networks == schedule.NETWORK_TURNS * (due.FIT_CHAINS + 10)
    assert len(table.networks) == 10 + due.FIT_CHAINS
    assert max(abs(n.ms / (1.1 * len(n.units)) - 1) for n in table.networks) < 1e-6
    assert [n.ms for n in table.networks[:10]] == [n.ms for n in first.networks]


def test_a_moment_s_disturbance_is_no_varying_speed(tmp_path, fake):
    space = spaces.get("mnasnet", base_width=0.35, resolution_px=64)
    archs = random_archs(4, rng_seed=0, resolution_px=64)
    fake(slowness=lambda call: 3.0 if call == 5 else 1.0)
    table = build.build("host", space.units(), named(archs), tmp_path / "host.json")
    assert table.provenance["drift"] < 0.01


def test_units_whose_times_differ_are_timed_again_and_marked(tmp_path, fake, caplog):
    archs = random_archs(6, rng_seed=0)
    units = {each for arch in archs for each in lower(arch)}
    noisy = key(lower(archs[0])[2])
    moments = iter([1.0, 2.0] * 100)
    fake(unit_ms=lambda name, call: next(moments) if name == noisy else 1.0)
    table = build.build("host", units, named(archs), tmp_path / "host.json")
    assert table.provenance["noisy_units"] == 1
    assert table.units[noisy].runs >= 5 * (fold.CONTEXTS + 2)


def test_the_middle_of_a_unit_s_times():
    assert fold.middle([4.0]) == 4.0
    assert fold.middle([1.0, 2.0, 6.0]) == 3.0
    assert fold.middle([0.0, 2.0, 3.0, 100.0]) == 2.5
    assert fold.middle([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, -9.0]) == 3.0  # one at each end of seven does not count
    rng = np.random.default_rng(0)
    times = rng.normal(size=(2000, fold.CONTEXTS))
    assert np.std([fold.middle(row) for row in times]) < 0.94 * np.std(np.median(times, axis=1))

"""Builds: from measurements to a table of this machine."""

from collections import Counter
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

import latency_luts
from latency_luts import (
    LatencyModel,
    MissingUnitsError,
    build,
    bundle,
    calibrate,
    due,
    fold,
    known,
    last_layers,
    measure,
    residence,
    schedule,
)
from latency_luts.chains import cover
from latency_luts.key import key
from latency_luts.log import Log
from latency_luts.speed import KNOWN, known_networks
from latency_luts.table import Correction, Identity, TableError, Validation, read, write
from nas_runtime.files import FileError
from search_spaces import rewrite, spaces, zoo
from search_spaces.arch import ConvBN, MBConv
from search_spaces.lower import lower, unit
from tests.conftest import random_archs
from tests.fake_machine import HERE, named


def test_an_interrupted_build_continues(tmp_path, fake):
    archs = random_archs(30, rng_seed=0)
    units = {each for arch in archs for each in lower(arch)}
    path = tmp_path / "host.json"
    interrupted = fake(break_after=2)
    with pytest.raises(KeyboardInterrupt):
        build.build("host", units, named(archs[:5]), path)
    assert not path.exists()
    log = tmp_path / "host.json.measured"
    before = len(log.read_text().splitlines())
    log.write_text(
        log.read_text() + '{"crc32": "01234567", "record": {"chain": {"ke'
    )  # the line that kill -9 cut short
    machine = fake()
    table = build.build("host", units, named(archs[:5]), path)
    assert before - 1 + machine.chains < 1.2 * len(cover(units, np.random.default_rng(0), contexts=fold.CONTEXTS))
    assert set(table.units) == {key(each) for each in units}
    assert {timing.ms for timing in table.units.values()} == {1.0}
    assert min(timing.runs for timing in table.units.values()) >= 5 * fold.CONTEXTS
    assert read(path) == table
    assert not log.exists()
    assert interrupted.networks + machine.networks == 5 * schedule.NETWORK_TURNS
    machine = fake()
    assert build.build("host", units, named(archs[:5]), path) == table
    assert (machine.calls, machine.networks) == (0, 0)


def test_units_of_light_and_heavy_chains_are_made_comparable(tmp_path, fake):
    """Weights that a light chain keeps in the caches are priced as if they came from memory, those of networks too."""
    archs = [zoo.get(name, width=w) for name in ("mobilenet_v2", "mnasnet_b1") for w in (0.35, 0.5, 0.75, 1.0, 1.4)]
    units, path = {unit for arch in archs for unit in lower(arch)}, tmp_path / "host.json"
    machine = fake(saved_by_mib_ms=0.05)
    table = build.build("host", units, named(archs), path)
    assert table.correction.saved_by_mib_ms == pytest.approx(0.05, rel=0.05)
    assert {round(timing.ms, 2) for timing in table.units.values()} == {1.0}
    model = latency_luts.LatencyModel(table)
    for arch in archs:
        assert model.latency_ms(arch) == pytest.approx(machine.network_ms(arch), rel=1e-3)
    fake(saved_by_mib_ms=table.correction.saved_by_mib_ms)
    more = {each for name in ("fbnet_c", "single_path_nas") for each in lower(zoo.get(name))} - units
    grown = build.build("host", more, {}, path)
    assert grown.correction.saved_by_mib_ms == table.correction.saved_by_mib_ms
    assert {round(timing.ms, 2) for timing in grown.units.values()} == {1.0}
    fake()
    plain = build.build("host", units, named(archs), path, fresh=True)
    assert plain.correction.saved_by_mib_ms == pytest.approx(0, abs=1e-6)


def test_a_table_without_networks_says_what_weights_save(tmp_path, fake):
    archs = [zoo.get("mobilenet_v2", width=width) for width in (0.35, 0.5, 0.75, 1.0)]
    fake(saved_by_mib_ms=0.05)
    table = build.build("host", {unit for arch in archs for unit in lower(arch)}, {}, tmp_path / "host.json")
    assert table.correction == Correction(saved_by_mib_ms=table.correction.saved_by_mib_ms)
    assert table.correction.saved_by_mib_ms == pytest.approx(0.05, rel=0.05)


def test_a_corrected_table_keeps_its_correction(tmp_path, fake):
    """Its networks are another device's, and their sums were corrected before."""
    archs, path = random_archs(12, rng_seed=0), tmp_path / "host.json"
    fake(saved_by_mib_ms=0.05)
    table = build.build("host", {unit for arch in archs[:6] for unit in lower(arch)}, named(archs[:6]), path)
    timed = [known.KnownLatency(arch=a, ms=2.2 * len(a.blocks) + 1, source_set="") for a in archs[:6]]
    corrected = calibrate.correct("board", table, timed)
    write(corrected, path)
    fake(saved_by_mib_ms=0.05)
    grown = build.build("board", {unit for arch in archs for unit in lower(arch)}, named(archs[6:]), path)
    assert len(grown.units) > len(table.units)
    assert grown.correction == corrected.correction
    assert grown.provenance["corrected_from"] == "host"
    figures = {"mape": 0.02, "within_5pct": 1.0, "within_10pct": 1.0, "kendall_tau": 1.0, "bias": 0.0, "noise": 0.01}
    validation = Validation(**figures, nets=9, worst="a", worst_error=0.04, date="2026-01-01", networks="some")
    write(replace(grown, validation=validation), path)
    machine = fake()
    again = build.build("board", {unit for arch in archs for unit in lower(arch)}, named(archs), path)
    assert (machine.calls, again.validation) == (0, validation)  # networks that change nothing are not timed


def test_a_weight_of_int8_is_a_byte():
    (stem, *_) = lower(zoo.get("mobilenet_v2"))
    assert residence.weights_mib(stem, "fp32") == 4 * residence.weights_mib(stem, "int8") > 0


def test_only_missing_units_are_measured(tmp_path, fake):
    a, b = random_archs(2, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    first = build.build("host", lower(a), named([a] * 4), path)
    new = set(map(key, lower(b))) - set(first.units)
    machine = fake(unit_ms=lambda name, call: 7.0 if name in new else 1.0)
    table = build.build("host", {*lower(a), *lower(b)}, named([a] * 4), path)
    assert machine.networks == 0
    assert {name for name, timing in table.units.items() if timing.ms == 7} == new
    assert {timing.ms for name, timing in table.units.items() if name not in new} == {1.0}


def test_a_few_units_more_leave_a_table_corrected_as_it_was_validated(tmp_path, fake):
    archs = random_archs(12, rng_seed=0)
    units = {each for arch in archs for each in lower(arch)}
    path = tmp_path / "host.json"
    fake()
    first = build.build("host", units, named(archs), path)
    figures = {"mape": 0.02, "within_5pct": 1.0, "within_10pct": 1.0, "kendall_tau": 1.0, "bias": 0.0, "noise": 0.01}
    about = {"nets": 9, "worst": "a", "worst_error": 0.04, "date": "2026-01-01", "networks": "some"}
    validation = Validation(**figures, **about)
    older = replace(first, correction=Correction(scale=1.05, per_kernel_ms=-0.001), validation=validation)
    write(older, path)
    fake()
    table = build.build("host", {*units, unit(ConvBN(in_ch=8, out_ch=24, kernel=5), 9, 9)}, {}, path)
    assert len(table.units) == len(first.units) + 1
    assert (table.correction, table.networks, table.validation) == (older.correction, older.networks, older.validation)


def test_known_networks_are_those_that_a_table_was_fitted_to(tmp_path, fake):
    archs = random_archs(40, rng_seed=0)
    fake()
    table = build.build("host", {each for arch in archs for each in lower(arch)}, named(archs), tmp_path / "host.json")
    known = known_networks(read(tmp_path / "host.json"))
    assert known == {name: named(archs)[name] for name in known}
    assert len(known) == KNOWN
    sizes = [len(arch.blocks) for arch in known.values()]
    assert sizes == sorted(sizes)
    assert {sizes[0], sizes[-1]} == {extreme(len(arch.blocks) for arch in archs) for extreme in (min, max)}
    assert known_networks(replace(table, networks=table.networks[:7])) == {}
    unnamed = tuple(replace(n, units=()) for n in table.networks)  # as in tables of an older version
    assert known_networks(replace(table, networks=unnamed)) == {}


def test_a_table_that_grows_is_corrected_anew(tmp_path, fake):
    small, large = (spaces.get("mnasnet", base_width=width, resolution_px=64) for width in (0.35, 1.0))
    archs = [small.decode(row) for row in small.sample(np.random.default_rng(0), 6)]
    path = tmp_path / "host.json"
    wide = {key(unit) for unit in large.units()}
    settings = {"unit_ms": lambda name, call: 10.0 if name in wide else 1.0}
    fake(**settings)
    first = build.build("host", small.units(), named(archs), path)
    machine = fake(**settings)
    machine.network_ms = lambda arch: sum(9.0 if key(unit) in wide else 1.1 for unit in lower(arch))
    table = build.build("host", large.units(), {}, path)
    added = table.networks[len(archs) :]
    assert len(added) == due.FIT_CHAINS
    assert table.networks[: len(archs)] != first.networks  # fitted anew
    assert max(abs(n.fitted_ms / n.ms - 1) for n in added) < 0.02
    fake(**settings)
    few = list(spaces.get("mnasnet", base_width=2.0, resolution_px=64).units())[:5]
    assert build.build("host", few, {}, path).networks == table.networks


def test_a_build_killed_between_its_table_and_its_log_uses_no_measurement_twice(tmp_path, fake, monkeypatch):
    archs = random_archs(8, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    with monkeypatch.context() as killed:
        killed.setattr(Log, "remove", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build.build("host", {unit for arch in archs[:7] for unit in lower(arch)}, named(archs[:4]), path)
    old = read(path)
    log = tmp_path / "host.json.measured"
    assert log.exists()
    fake(unit_ms=lambda name, call: 1.05)  # what was measured before would say that the machine is as fast as then
    table = build.build("host", {*lower(archs[7]), *spaces.get("mnasnet", resolution_px=64).units()}, {}, path)
    assert len(table.units) > len(old.units)
    assert {timing.ms for timing in table.units.values()} == {1.0}
    assert not log.exists()


def test_units_that_an_interrupted_build_had_measured_get_into_the_next_table(tmp_path, fake):
    archs = random_archs(30, rng_seed=0)
    units = {each for arch in archs[1:] for each in lower(arch)}
    path = tmp_path / "host.json"
    fake(break_after=4)
    with pytest.raises(KeyboardInterrupt):
        build.build("host", units, {}, path)
    fake()
    timed = Counter(name for chain in Log(tmp_path / "host.json.measured", HERE).chains for name in chain.keys)
    few = lower(archs[0])
    table = build.build("host", few, named([archs[0]] * 4), path)
    whole = {name for name, times in timed.items() if times >= fold.CONTEXTS}
    assert whole - {key(each) for each in few}
    assert set(table.units) == whole | {key(each) for each in few}


def test_what_stands_beside_a_unit_that_fits_to_no_other_gets_into_no_table(tmp_path, fake):
    lonely = unit(MBConv(in_ch=24, mid_ch=72, out_ch=40, kernel=5, stride=2), 56, 56)
    fake()
    table = build.build("host", {lonely}, {}, tmp_path / "host.json")
    assert set(table.units) == {key(lonely)}


def test_a_convolution_at_the_end_of_a_chain_has_a_time(tmp_path):
    """The runtime calls it by the name of the graph's output."""
    lonely = unit(ConvBN(in_ch=24, out_ch=96, kernel=3), 28, 28)
    with measure.bench(measure.identity()) as machine:
        (timing,) = machine.time_chains(list(cover({lonely}, np.random.default_rng(0))), bursts=2)
    before, last = timing.ms
    assert timing.keys[1] == key(lonely)
    assert last > 3 * before  # which is a 1x1 convolution of 24 channels
    assert timing.kernels[1] >= 1


def test_a_table_with_a_unit_that_takes_nothing_grows(tmp_path, fake):
    a, b = random_archs(2, rng_seed=0)
    nothing = key(lower(a)[0])  # with which chains of new units begin
    path = tmp_path / "host.json"
    for arch in (a, b):
        fake(unit_ms=lambda name, call: 0.0 if name == nothing else 1.0)
        table = build.build("host", lower(arch), named([a] * 4), path)
    assert set(table.units) == {key(each) for arch in (a, b) for each in lower(arch)}


def test_two_machines_are_never_mixed(tmp_path, fake):
    archs = random_archs(4, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    build.build("host", lower(archs[0]), named([archs[0]] * 4), path)
    for change in ({"cpu": "another cpu"}, {"runtime": "onnxruntime 2"}, {"threads": 2}, {"dtype": "int8"}):
        other = Identity(**{**vars(HERE), **change})
        with pytest.raises(TableError, match=r"was measured with .*, but here is .*build device=host fresh=true"):
            build.build("host", lower(archs[1]), {}, path, how=other)
    board = tmp_path / "board.json"
    write(replace(read(path), device="board"), board)
    with pytest.raises(
        TableError, match="was measured on test cpu, and this is another cpu; measure board itself"
    ) as caught:
        build.build("board", lower(archs[1]), {}, board, how=Identity(**{**vars(HERE), "cpu": "another cpu"}))
    assert "fresh" not in str(caught.value)  # which would replace what only the board can measure
    build.build("host", lower(archs[1]), named([archs[1]] * 4), path, how=other, fresh=True)
    assert read(path).identity == other


def test_two_builds_of_one_device_do_not_mix(tmp_path, fake):
    path = tmp_path / "host.json"
    first = Log(tmp_path / "host.json.measured", HERE)
    arch = zoo.get("mobilenet_v2")
    machine = fake()
    with first.open():
        for fresh in (False, True):
            with pytest.raises(FileError, match=r"host\.json\.measured is being written by another process; wait"):
                build.build("host", lower(arch), {}, path, fresh=fresh)
        assert machine.calls == 0
        first.add_chains(machine.time_chains([arch], bursts=1))
    assert Log(tmp_path / "host.json.measured", HERE).chains == first.chains
    build.build("host", lower(arch), {}, path, fresh=True)
    assert not (tmp_path / "host.json.measured").exists()


def test_a_bundle_made_before_last_layers_of_10_classes_still_gives_a_table(tmp_path, fake, monkeypatch):
    archs, machine, how = random_archs(4, rng_seed=0), fake(), replace(HERE, cpu="board cpu")
    networks = named(archs)
    older = {unit for arch in archs for unit in lower(arch)}
    chains = [*machine.time_chains(archs, bursts=1)]
    turns = {name: machine.time_networks([arch], bursts=1) for name, arch in networks.items()}
    monkeypatch.setattr(build, "units_and_samples", lambda space: (last_layers.for_measuring(older), networks))
    monkeypatch.setattr(bundle, "read_measured", lambda file: ("board", how, chains, turns))
    file, path = tmp_path / "measured.jsonl", tmp_path / "board.json"
    file.write_text("measured")
    space = spaces.get("mnasnet", base_width=0.35, resolution_px=96)
    table = build.build_from(file, device="board", space=space, path=path)
    assert set(table.units) == {key(unit) for unit in older}
    assert len(table.networks) == 4
    with pytest.raises(MissingUnitsError, match=r"out_ch=100\)"):
        LatencyModel(table).latency_ms(rewrite.classes(archs[0], 100))
    chains[:] = chains[1:]
    with pytest.raises(TableError, match=r"measured.jsonl lacks \d+ units of this space, as "):
        build.build_from(file, device="board", space=space, path=path, fresh=True)


def test_units_are_not_added_to_tables_of_other_devices(tmp_path):
    with pytest.raises(TableError, match="is calibrated, not measured: it has no units to add to"):
        build.measure_missing(latency_luts.load("pixel1"), [], path=tmp_path / "pixel1.json")


def test_measuring_this_machine(tmp_path):
    archs = [zoo.get("mobilenet_v3_small", width=w, resolution_px=64) for w in (0.35, 0.5, 0.75, 1.0)]
    units = {each for arch in archs for each in lower(arch)}
    table = build.build("host", units, named(archs), tmp_path / "host.json")
    assert table.identity == measure.identity()
    assert all(timing.ms > 0 and timing.kernels > 0 for timing in table.units.values())
    model = latency_luts.LatencyModel(table)
    assert "measured on" in model.describe()
    assert model.latency_ms(archs[3]) > model.latency_ms(archs[0])

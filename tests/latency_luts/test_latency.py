"""What models of latency predict, and what they refuse."""

import re
from dataclasses import replace

import numpy as np
import pytest

import latency_luts
from latency_luts import store
from latency_luts.correction import fit_correction
from latency_luts.key import key, parse
from latency_luts.table import Correction, NetworkFit, TableError, Timing
from search_spaces import cost, spaces, zoo
from search_spaces.lower import lower
from tests.conftest import random_archs
from tests.latency_tables import HERE, measured_table


def test_a_measured_model_adds_units_and_corrects():
    (arch,) = random_archs(1, rng_seed=0)
    table = measured_table([arch], ms=2.0, correction=Correction(scale=1.1, offset_ms=-0.5))
    model = latency_luts.LatencyModel(table)
    assert model.latency_ms(arch) == pytest.approx(1.1 * 2.0 * len(arch.blocks) - 0.5)


def test_weights_that_stay_in_the_caches_save_time(space):
    """A MiB of light networks more than one of heavy ones; alone and in batches alike."""
    rows = space.sample(np.random.default_rng(0), 20)
    archs = [space.decode(row) for row in rows]
    plain = latency_luts.LatencyModel(measured_table(archs, ms=2.0))
    model = latency_luts.LatencyModel(
        measured_table(archs, ms=2.0, correction=Correction(scale=1.2, saved_by_mib_ms=0.05))
    )
    mib = np.array([4 * cost.params(arch) / 2**20 for arch in archs])
    expected = 1.2 * (plain.latency_ms_batch(space, rows) - 0.05 * mib * np.exp(-mib / 6))
    np.testing.assert_allclose(model.latency_ms_batch(space, rows), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose([model.latency_ms(arch) for arch in archs], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose([sum(model.parts_ms(arch)) for arch in archs], expected, rtol=0, atol=1e-9)


def test_networks_are_predicted_by_the_formula_that_was_fitted():
    """Also where a correction takes more off a unit than was measured: its neighbours' kernels did all of it."""
    archs = random_archs(12, rng_seed=0)
    rng = np.random.default_rng(0)
    whole = measured_table(archs)
    units = {
        name: Timing(float(rng.choice([0.0, 0.5, 2.0])), 0.01, 20, int(rng.integers(1, 9))) for name in whole.units
    }
    its = [[units[key(unit)] for unit in lower(arch)] for arch in archs]
    sums, kernels = [sum(t.ms for t in row) for row in its], [sum(t.kernels for t in row) for row in its]
    took = [1.1 * s - 0.02 * k + 0.4 for s, k in zip(sums, kernels, strict=True)]
    correction, fits = fit_correction([arch.name for arch in archs], sums, took, kernels)
    model = latency_luts.LatencyModel(replace(whole, units=units, correction=correction, networks=fits))
    assert any(correction.unit_ms(t.ms, t.kernels) < 0 for t in units.values())
    for arch, fit, s, k in zip(archs, fits, sums, kernels, strict=True):
        assert model.latency_ms(arch) == pytest.approx(fit.fitted_ms, rel=1e-9)
        assert model.latency_ms(arch) == pytest.approx(correction.network_ms(s, k), rel=1e-9)
        assert min(model.parts_ms(arch)) == 0
        assert sum(model.parts_ms(arch)) == pytest.approx(fit.fitted_ms)
    assert min(model.unit_ms(parse(name)) for name in units) == 0


def test_a_latency_of_0_or_less_is_refused(space):
    rows = space.sample(np.random.default_rng(0), 4)
    archs = [space.decode(row) for row in rows]
    model = latency_luts.LatencyModel(measured_table(archs, correction=Correction(offset_ms=-1000.0)))
    message = r"the table of 'test' gives -9\d\d ms for mnasnet at 224 px: it was fitted to slower networks; fit it to"
    for predict in (lambda: model.latency_ms(archs[0]), lambda: model.latency_ms_batch(space, rows)):
        with pytest.raises(TableError, match=message):
            predict()


def test_the_fastest_networks_of_a_space_are_below_those_of_the_fit(space):
    """A table whose correction takes off more than the fastest network's units add prices it above 0."""
    rows = space.sample(np.random.default_rng(0), 8)
    archs = sorted((space.decode(row) for row in rows), key=lambda arch: len(arch.blocks))
    model = latency_luts.LatencyModel(measured_table(archs))
    fast, *others = sorted(map(model.latency_ms, archs))
    offset_ms = -0.5 * (fast + others[0])
    fits = [NetworkFit(name=str(i), ms=ms, sum_ms=ms, fitted_ms=ms + offset_ms, left_out_ms=ms + offset_ms)
            for i, ms in enumerate(others)]  # fmt: skip
    correction = Correction(offset_ms=offset_ms).of_networks([fit.fitted_ms for fit in fits])
    found = latency_luts.LatencyModel(replace(model.table, correction=correction, networks=tuple(fits)))
    wanted = [fast * (1 + offset_ms / others[0]), *(ms + offset_ms for ms in others)]
    assert sorted(map(found.latency_ms, archs)) == pytest.approx(wanted)
    assert sorted(found.latency_ms_batch(space, rows)) == pytest.approx(wanted)
    assert wanted[0] > 0 > fast + offset_ms


MEASURED = {"reference_ms": 2.0}


IMPORTED = {"imported_from": "a.yaml"}


NO_MORE = (
    "it was not measured by this project and gets no more units: take what it covers (python -m latency_luts.show "
    "device={0} says it), or in Python prices between its widths: latency_luts.load('{0}', model='interpolated')"
)


OPTIONS = "with the space.* options of these networks"


@pytest.mark.parametrize(
    ("device", "provenance", "dtype", "said"),
    [
        ("host", MEASURED, "fp32", f"measure them: python -m latency_luts.build device=host, {OPTIONS}"),
        ("host_int8", MEASURED, "int8", f"python -m latency_luts.build device=host_int8 dtype=int8, {OPTIONS}"),
        (
            "rpi4",
            MEASURED,
            "fp32",
            f"measure them on the device: python -m latency_luts.bundle device=rpi4, {OPTIONS}, and follow what it "
            "says",
        ),
        ("i7", IMPORTED, "fp32", NO_MORE.format("i7")),
        ("i7", {}, "fp32", NO_MORE.format("i7")),
        (
            "mine",
            {**MEASURED, "corrected_from": "rpi4", "corrected_to": "5 networks"},
            "fp32",
            f"its units are those of rpi4: measure them on the device: python -m latency_luts.bundle device=rpi4, "
            f"{OPTIONS}, and follow what it says; then correct it anew: python -m latency_luts.calibrate device=mine "
            "correct=rpi4 latencies=FILE.csv",
        ),
        (
            "rpi4",
            {**MEASURED, "corrected_from": "rpi4", "corrected_to": "5 networks"},
            "fp32",
            f"measure them on the device: python -m latency_luts.bundle device=rpi4, {OPTIONS}, and follow what it "
            "says",
        ),
        ("mine", {**IMPORTED, "corrected_from": "i7", "corrected_to": "5 networks"}, "fp32", NO_MORE.format("mine")),
    ],
)
def test_missing_units_have_one_remedy_that_works(device, provenance, dtype, said):
    a, b = random_archs(2, rng_seed=0)
    table = replace(measured_table([a]), device=device, provenance=provenance, identity=replace(HERE, dtype=dtype))
    with pytest.raises(latency_luts.MissingUnitsError) as caught:
        latency_luts.LatencyModel(table).latency_ms(b)
    assert str(caught.value).endswith(said)
    assert str(caught.value).count("python -m") == said.count("python -m")


def test_missing_units_are_named():
    a, b = random_archs(2, rng_seed=0)
    model = latency_luts.LatencyModel(measured_table([a]))
    missing = next(unit for unit in lower(b) if unit not in lower(a))
    with pytest.raises(latency_luts.MissingUnitsError, match=re.escape(key(missing))) as caught:
        model.latency_ms(b)
    assert caught.value.units[0] == missing


@pytest.mark.parametrize("name", spaces.names())
def test_batches_equal_single_networks(name):
    model = latency_luts.load("pixel1")
    space = spaces.get(name, base_width=1.0 if name == "accel_nasbench" else 0.35)
    indices = space.sample(np.random.default_rng(0), 50)
    expected = [model.latency_ms(space.decode(row)) for row in indices]
    model.latency_ms_batch(spaces.get(name, resolution_px=64), indices[:1])  # another space does not matter later
    np.testing.assert_allclose(model.latency_ms_batch(space, indices), expected, rtol=0, atol=1e-9)
    function = replace(space, declaration=None)
    np.testing.assert_allclose(model.latency_ms_batch(function, indices), expected, rtol=0, atol=1e-9)


def test_batches_miss_units_as_single_networks_do(space):
    rows = space.sample(np.random.default_rng(0), 2)
    known = space.decode(rows[0])
    model = latency_luts.LatencyModel(measured_table([known], ms=2.0))
    assert model.latency_ms_batch(space, rows[:1]) == pytest.approx([2.0 * len(known.blocks)])
    with pytest.raises(latency_luts.MissingUnitsError, match="has no unit"):
        model.latency_ms_batch(space, rows)


@pytest.mark.parametrize(("indices", "message"), [([[0, 1]], "takes indices"), ([[9] * 42], "outside its choice")])
def test_batches_of_another_space_are_refused(space, indices, message):
    with pytest.raises(ValueError, match=message):
        latency_luts.load("pixel1").latency_ms_batch(space, np.array(indices))


def test_narrowing_never_raises_the_latency_of_a_phone():
    model = latency_luts.load("pixel1")
    families = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mnasnet_a1", "mixnet_s")
    for name in families:
        ms = [model.latency_ms(zoo.get(name, width=width)) for width in (0.35, 0.5, 0.75, 1.0)]
        assert ms == sorted(set(ms))
        assert len(ms) == 4


def test_unknown_device_is_an_error_that_helps(tmp_path):
    with pytest.raises(TableError, match="no latency table for device 'pixel11'; did you mean pixel1"):
        latency_luts.load("pixel11")
    with pytest.raises(TableError, match="python -m latency_luts.build device=host"):
        store.load("host", tables_dir=tmp_path)

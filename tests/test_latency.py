"""Tables, calibration, and the models made of them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latency_luts
from latency_luts import calibrate, calibrated, residence, store
from latency_luts.correction import fit_correction
from latency_luts.key import key, parse
from latency_luts.options import CalibrateOptions
from latency_luts.table import (
    CalibratedTable,
    Correction,
    Identity,
    MeasuredTable,
    NetworkFit,
    TableError,
    Timing,
    read,
    write,
)
from search_spaces import cost, spaces, text, zoo
from search_spaces.lower import lower
from tests.conftest import options_of, random_archs

HERE = Identity(cpu="test cpu", runtime="onnxruntime 1", threads=1, batch=1, dtype="fp32")


def measured_table(archs, ms=1.0, **changes) -> MeasuredTable:
    units = {key(unit): Timing(ms, 0.01, 20) for arch in archs for unit in lower(arch)}
    return MeasuredTable(device="test", identity=HERE, provenance={"date": "today"}, units=units, **changes)


def test_keys_are_reversible():
    for arch in [*(zoo.get(name) for name in zoo.names()), *random_archs(10, rng_seed=2)]:
        for unit in lower(arch):
            assert parse(key(unit)) == unit


DEEP = f'Branches({{"branches":{"[" * 100_000})@4x4'


@pytest.mark.parametrize(
    "text", ["", "MBConv", "Foo(in_ch=3)@1x1", "ConvBN(in_ch=3,out_ch=8)@4x4", "ConvBN(x)@4x4", DEEP]
)
def test_no_key(text):
    with pytest.raises(ValueError, match="not a unit key"):
        parse(text)


# ---- shipped tables


def phone_table(device: str) -> CalibratedTable:
    return calibrate.calibrate(device, calibrate.published(device))


@pytest.mark.parametrize("phone", ["pixel1", "pixel2", "pixel3"])
def test_shipped_phone_tables_are_reproducible(phone):
    model = latency_luts.load(phone)
    assert "not measured" in model.describe()
    again = phone_table(phone)
    assert model.table.costs == pytest.approx(again.costs, rel=1e-6, abs=1e-12)
    assert model.table.factors == pytest.approx(again.factors)
    assert model.table.origin == again.origin
    assert min(model.table.costs.values()) >= 0
    assert model.table.factors["mobilenet_v3_paper_table3"] == 1


@pytest.mark.parametrize(("phone", "rows", "networks"), [("pixel1", 35, 32), ("pixel2", 11, 9), ("pixel3", 11, 9)])
def test_the_zoo_has_the_published_latencies_of_phones(phone, rows, networks):
    """Those of floating-point networks; the file has quantised ones as well."""
    measured, unknown = calibrate.read_csv(Path(__file__).parent / "data" / "phone_latencies.csv", phone)
    assert unknown == ()

    def told(found):
        return sorted((m.source_set, m.arch.name, m.arch.resolution_px, m.ms) for m in found)

    assert told(measured) == told(calibrate.published(phone))
    assert (len(measured), len({m.arch for m in measured})) == (rows, networks)


def test_leave_one_out_is_computed_without_any_row_of_the_network():
    rows = calibrate.published("pixel1")
    table = phone_table("pixel1")
    arch = zoo.get("mobilenet_v2")  # in two source sets
    others = [row for row in rows if row.arch != arch]
    assert len(rows) - len(others) == 2
    fitted = calibrated.fit(
        [row.arch for row in others],
        [row.ms for row in others],
        [row.source_set for row in others],
        reference="mobilenet_v3_paper_table3",
    )
    expected = calibrated.network_features(arch) @ calibrated.cost_vector(fitted.costs)
    left_out = {n.source_set: n.left_out_ms for n in table.networks if n.name == "mobilenet_v2"}
    for source_set, ms in left_out.items():
        assert ms == pytest.approx(expected * fitted.factors[source_set])


def test_calibration_recovers_known_costs_and_factors():
    costs = np.array([1e-7, 1e-5, 1e-8, 0.01])
    archs = random_archs(24, rng_seed=0)
    sets = ["a", "b", "b"] * 8
    ms = [
        float(calibrated.network_features(arch) @ costs) * {"a": 1.0, "b": 1.3}[s]
        for arch, s in zip(archs, sets, strict=True)
    ]
    fitted = calibrated.fit(archs, ms, sets, reference="a")
    np.testing.assert_allclose([fitted.costs[name] for name in calibrated.FEATURES], costs, rtol=1e-3)
    assert fitted.factors == pytest.approx({"a": 1.0, "b": 1.3}, rel=1e-4)
    assert max(abs(n.fitted_ms / n.ms - 1) for n in fitted.networks) < 1e-3


def test_one_odd_latency_does_not_move_the_others():
    archs = random_archs(30, rng_seed=1)
    costs = np.array([1e-7, 1e-5, 1e-8, 0.01])
    ms = [float(calibrated.network_features(arch) @ costs) for arch in archs]
    ms[3] *= 2
    fitted = calibrated.fit(archs, ms)
    off = [abs(n.fitted_ms / n.ms - 1) for i, n in enumerate(fitted.networks) if i != 3]
    assert max(off) < 0.03


@pytest.mark.parametrize(
    ("count", "sets", "reference", "message"),
    [
        (4, [], "", "4 different networks for 4 coefficients; give at least 5"),
        (8, ["a"] * 8, "b", "no latency is of the reference set 'b'; there are: a"),
        (8, ["a"] * 7 + ["b"], "a", "source set 'b' has one network only; give at least 2"),
    ],
)
def test_calibration_messages(count, sets, reference, message):
    with pytest.raises(ValueError, match=message):
        calibrated.fit(random_archs(count, rng_seed=0), [1.0] * count, sets, reference=reference)


CSV = "network,resolution_px,latency_ms,source_set\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no networks; give a header line"),
        (CSV, "has no networks; give a header line"),
        ("name,ms\nMobileNetV2,3\n", "needs the columns network and phone_ms .or latency_ms.; it has name, ms"),
        (CSV + "MobileNetV2 1.0,224,fast,\n", "line 2: latency_ms is 'fast'; it must be a number above 0"),
        (CSV + "MobileNetV2 1.0,224,-1,\n", "line 2: latency_ms is '-1'; it must be a number above 0"),
        (CSV + "MobileNetV2 1.0,224,nan,\n", "line 2: latency_ms is 'nan'"),
        (CSV + "MobileNetV9,224,3,\n", "has no latency of 'phone' for a network of the zoo"),
        (CSV + "mine.json,224,3,\n", "line 2: mine.json cannot be read"),
        *(
            (CSV + f"MobileNetV2 1.0,{px},3,\n", f"line 2: resolution_px is '{px}'; it must be a whole number from 32")
            for px in ("224.7", "1", "1000000", "-224", "nan", "2_24", "9" * 9)
        ),
        (
            CSV + "MobileNetV2,224,3,\n\nmobilenet_v2 1.0,224,4,\n",
            "line 4: 'mobilenet_v2 1.0' at 224 px stands twice; keep one line",
        ),
        (CSV + " ,224,3,\n", "line 2 has a latency and no network; name it, or remove the line"),
        ("latency_ms,network\n3\n", "line 2 has a latency and no network"),
        (CSV + "MobileNetV2,224,3,a,b\n", "line 2 has more cells than the header; quote cells with commas"),
        (CSV + 'MobileNetV2,224,"3\n', "cannot be read: unexpected end of data"),
        (
            CSV + "MobileNet-V3-Larg,224,3,\n",
            r"network of the zoo \(MobileNet-V3-Larg \(did you mean mobilenet_v3_large\?\) not known",
        ),
    ],
)
def test_latency_file_messages(tmp_path, content, message):
    path = tmp_path / "f.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        calibrate.read_csv(path, "phone")


def test_a_latency_file_may_name_network_files_and_unknown_networks(tmp_path):
    (arch,) = random_archs(1, rng_seed=0)
    (tmp_path / "mine.json").write_text(text.to_json(arch))
    path = tmp_path / "f.csv"
    path.write_text(CSV + "mine.json,,3,\nMobileNetV2 0.5,96,2.5,\nMobileNetV9,224,1,\nMobileNetV2,224,,\n")
    measured, unknown = calibrate.read_csv(path, "phone")
    assert [m.ms for m in measured] == [3.0, 2.5]
    assert measured[0].arch == arch
    assert measured[1].arch == zoo.get("mobilenet_v2", width=0.5, resolution_px=96)
    assert unknown == ("MobileNetV9",)


def test_a_borrowed_table_is_corrected_by_a_few_networks():
    archs = random_archs(5, rng_seed=0)
    table = measured_table(archs, ms=2.0, correction=Correction(offset_ms=-0.5, saved_by_mib_ms=0.1))
    borrowed = latency_luts.LatencyModel(table)
    measured = [calibrate.Measured(arch=arch, ms=1.5 * borrowed.latency_ms(arch) + 1, source_set="") for arch in archs]
    corrected = calibrate.correct("board", table, measured)
    assert corrected.units == table.units
    assert latency_luts.LatencyModel(corrected).latency_ms(archs[0]) == pytest.approx(measured[0].ms)
    assert "test" in corrected.provenance["corrected_from"]
    with pytest.raises(ValueError, match="3 networks for two coefficients; give at least 4"):
        calibrate.correct("board", table, measured[:3])


def test_latencies_that_do_not_grow_with_the_table_s_are_refused():
    archs = random_archs(5, rng_seed=0)
    table = measured_table(archs, ms=2.0)
    ms = latency_luts.LatencyModel(table).latency_ms
    falling = [calibrate.Measured(arch=arch, ms=100 - ms(arch), source_set="") for arch in archs]
    with pytest.raises(ValueError, match="the latencies do not grow with those of the table of 'test': networks that"):
        calibrate.correct("board", table, falling)


def test_a_table_that_is_corrected_twice_says_whose_units_it_has():
    archs = random_archs(5, rng_seed=0)
    table = replace(measured_table(archs, ms=2.0), device="rpi4", provenance={"reference_ms": 2.0})
    timed = [calibrate.Measured(arch=arch, ms=3.0 * len(arch.blocks), source_set="") for arch in archs]
    once = calibrate.correct("mine", table, timed, source="five.csv")
    twice = calibrate.correct("mine", once, timed, source="more.csv")
    said = "mine: corrected to 5 networks of more.csv; its units are those of rpi4, measured on test cpu"
    assert latency_luts.LatencyModel(twice).describe().startswith(said)


def test_a_table_that_is_far_off_is_not_saved(tmp_path, capsys):
    """A comma in the wrong place, and latencies that have nothing to do with the networks."""
    names = {"MobileNetV2": 9, "MnasNet-A1": 1, "MnasNet-B1": 60, "MobileNetV3-Large": 2, "MobileNetV3-Small": 70}
    names |= {"proxyless_r": 3}
    (tmp_path / "f.csv").write_text(CSV + "".join(f"{n},,{ms},\n" for n, ms in names.items()))
    values = {"device": "mine", "latencies": str(tmp_path / "f.csv"), "reference": None, "correct": None}
    settings = {**values, "tables_dir": str(tmp_path), "force": False}
    with pytest.raises(
        TableError, match=r"the leave-one-out error is \d+%, and at most 30% is accepted; nothing was saved"
    ):
        calibrate._main(options_of(CalibrateOptions, **settings))
    assert not (tmp_path / "mine.json").exists()
    calibrate._main(options_of(CalibrateOptions, **{**settings, "force": True}))
    assert "mine: calibrated to 6 latencies" in capsys.readouterr().out
    assert (tmp_path / "mine.json").exists()


@given(st.integers(0, 2**32 - 1))
def test_non_negative_least_squares_meets_the_optimality_conditions(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((9, 4)), rng.standard_normal(9)
    x = calibrated.non_negative_least_squares(a, b)
    gradient = a.T @ (a @ x - b)
    assert (x >= 0).all()
    assert (gradient >= -1e-9).all()
    assert abs(gradient @ x) < 1e-9


# ---- models


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


FIT = {"name": "n", "ms": 2.0, "fitted_ms": 2.1, "left_out_ms": 2.2}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Timing(float("nan"), 0.0, 1), "ms is nan; it must be a number of at least 0"),
        (lambda: Timing(-1.0, 0.0, 1), "ms is -1.0; it must be a number of at least 0"),
        (lambda: NetworkFit(**FIT | {"ms": 0.0}), "ms is 0; it must be above 0"),
        (lambda: NetworkFit(**FIT | {"left_out_ms": float("inf")}), "left_out_ms is inf; it must be a finite number"),
        (lambda: Correction(scale=float("nan")), "scale is nan; it must be a finite number"),
        (lambda: replace(HERE, threads=0), "threads is 0; it must be a whole number of at least 1"),
        (lambda: replace(HERE, cpu=["x"]), r"cpu is \['x'\]; it must be a text"),
        (
            lambda: CalibratedTable(device="x", provenance={}, costs={"operator": float("inf")}),
            "cost of operator is inf",
        ),
        (lambda: CalibratedTable(device="x", provenance={}, costs={}, factors={"a": 0.0}), "factor of a is 0; it must"),
    ],
)
def test_values_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("provenance", "said"),
    [
        ({"reference_ms": 2.0}, "test: measured on test cpu, onnxruntime 1, 1 thread; error on whole networks unknown"),
        (
            {"reference_ms": 2.0, "drift": 2.74},
            "1 thread, while the machine was busy: its speed varied by 274%, 0% of the units from chain to chain;",
        ),
        ({"reference_ms": 2.0, "noisy_units": 10**6}, ", while the machine was busy: its speed varied by 0%, "),
        ({"imported_from": "a.yaml"}, "test: imported from a.yaml;"),
        (
            {"reference_ms": 2.0, "corrected_from": "rpi4", "corrected_to": "5 networks"},
            "test: corrected to 5 networks; its units are those of rpi4, measured on test cpu,",
        ),
        (
            {"imported_from": "a.yaml", "corrected_from": "i7", "corrected_to": "5 networks"},
            "test: corrected to 5 networks; its units are those of i7, imported from a.yaml;",
        ),
    ],
)
def test_a_table_says_where_it_is_from(provenance, said):
    table = replace(measured_table(random_archs(1, rng_seed=0)), provenance=provenance)
    assert said in latency_luts.LatencyModel(table).describe()
    assert (table.timed is not None) == ("reference_ms" in provenance)


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


# ---- files


def test_tables_round_trip(tmp_path):
    (arch,) = random_archs(1, rng_seed=0)
    fit = (NetworkFit(name="n", ms=2.0, fitted_ms=2.1, left_out_ms=2.2, units=tuple(map(key, lower(arch)))),)
    table = measured_table(random_archs(2, rng_seed=0), networks=fit, correction=Correction(scale=1.1, offset_ms=0.1))
    write(table, tmp_path / "t.json")
    assert read(tmp_path / "t.json") == table
    phone = phone_table("pixel2")
    write(phone, tmp_path / "p.json")
    assert read(tmp_path / "p.json") == phone
    assert latency_luts.load(tmp_path / "p.json").device == "pixel2"


def rewritten(path, change):
    """The table with `change` made and a valid checksum."""
    data = json.loads(path.read_text())
    change(data)
    data.pop("sha256")
    from latency_luts import table

    data["sha256"] = table._checksum(data)
    path.write_text(json.dumps(data))


def test_tables_of_older_versions_are_read(tmp_path):
    """Which knew neither an offset or time per kernel beside the scale nor what a network is made of."""
    fit = (NetworkFit(name="n", ms=2.0, fitted_ms=2.1, left_out_ms=2.2),)
    table = measured_table(random_archs(2, rng_seed=0), networks=fit, correction=Correction(scale=1.1))
    write(table, tmp_path / "t.json")

    def older(data):
        data["correction"] = {"scale": 1.1}
        for n in data["networks"]:
            del n["units"]

    rewritten(tmp_path / "t.json", older)
    assert read(tmp_path / "t.json") == table


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_text(p.read_text()[:-200]), "not JSON"),
        (lambda p: p.write_text(p.read_text().replace("[1.0, 0.01, 20, 0]", "[0.5, 0.01, 20, 0]", 1)), "checksum"),
        (lambda p: p.write_text("1" * 5000), r"t\.json is not a table: not JSON \(Exceeds the limit"),
        (lambda p: p.write_text("[]"), "not a table of format 2"),
        (lambda p: p.write_text("[" * 100_000), "nested too deeply"),
        (lambda p: rewritten(p, lambda d: d.update(device="../x")), "device='../x' cannot be a name"),
        (lambda p: rewritten(p, lambda d: d.update(provenance=[])), "is not a table"),
        (lambda p: rewritten(p, lambda d: d["provenance"].update(reference_ms=-1)), "reference_ms is -1; it must be"),
        (lambda p: rewritten(p, lambda d: d["identity"].update(cpu=9)), "cpu is 9; it must be a text"),
        (lambda p: p.write_text(p.read_text().replace("{\n", '{\n "kind": "x",\n', 1)), "it has 'kind' twice"),
        (lambda p: p.write_bytes(b"\xff\xfe\x00"), "is not a text file"),
        (lambda p: p.unlink(), "no table file"),
        (lambda p: rewritten(p, lambda d: d.update(format=99)), "its format is 99"),
        (lambda p: rewritten(p, lambda d: d.update(kind="guessed")), "its kind is 'guessed'"),
        (lambda p: rewritten(p, lambda d: d["units"].update({next(iter(d["units"])): [-1, 0, 1]})), "at least 0"),
        (lambda p: rewritten(p, lambda d: d["units"].update({next(iter(d["units"])): [float("nan"), 0, 1]})), "is nan"),
        (lambda p: rewritten(p, lambda d: d["units"].update({"what": [1, 0, 1]})), "not a unit key"),
        (lambda p: rewritten(p, lambda d: d.pop("identity")), "identity"),
        (lambda p: rewritten(p, lambda d: d["networks"][0].update(units=["what"])), "not a unit key"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, damage, message):
    path = tmp_path / "t.json"
    fit = (NetworkFit(name="n", ms=2.0, fitted_ms=2.1, left_out_ms=2.2),)
    write(measured_table(random_archs(1, rng_seed=0), networks=fit), path)
    damage(path)
    with pytest.raises(TableError, match=message):
        read(path)


def assert_correction(correction, **expected):
    assert vars(correction) == pytest.approx(vars(Correction(**expected)))


def test_the_correction_is_a_line():
    sums = [1.0, 2.0, 4.0, 8.0, 3.0]
    correction, _ = fit_correction(list("abcde"), sums, [1.2 * s + 0.3 for s in sums])
    assert_correction(correction, scale=1.2, offset_ms=0.3)
    with pytest.raises(ValueError, match="1 networks for two coefficients; give at least 4"):
        fit_correction(["a"], [1.0], [2.0])


def line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The line with the least squared relative errors, by its two normal equations."""
    w = 1 / y**2
    (a, b), c = np.array([[w @ x**2, w @ x], [w @ x, w.sum()]]), np.array([w @ (x * y), w @ y])
    return np.array([c[0] * b[1] - c[1] * a[1], c[1] * a[0] - c[0] * a[1]]) / (a[0] * b[1] - a[1] ** 2)


def test_a_network_s_error_is_that_of_a_fit_without_it():
    """Beside the line, where a fit with the network itself comes out closer to it."""
    rng = np.random.default_rng(0)
    sums = np.exp(rng.uniform(0, 3, 9))
    whole = (1.2 * sums + 0.3) * np.exp(0.1 * rng.standard_normal(9))
    _, fits = fit_correction(list("abcdefghi"), sums.tolist(), whole.tolist())
    scale, offset_ms = line(sums, whole)
    for i, fit in enumerate(fits):
        assert fit.fitted_ms == pytest.approx(scale * sums[i] + offset_ms)
        its_scale, its_offset_ms = line(np.delete(sums, i), np.delete(whole, i))
        assert fit.left_out_ms == pytest.approx(its_scale * sums[i] + its_offset_ms)
        assert abs(fit.left_out_ms / fit.ms - 1) > 1.05 * abs(fit.fitted_ms / fit.ms - 1)


def test_the_profiler_s_time_per_kernel_is_taken_off_again():
    sums, kernels = [1.0, 2.0, 4.0, 8.0, 3.0], [10, 30, 20, 50, 40]
    whole = [1.05 * s - 0.003 * k for s, k in zip(sums, kernels, strict=True)]
    correction, _ = fit_correction(list("abcde"), sums, whole, kernels)
    assert_correction(correction, scale=1.05, per_kernel_ms=-0.003)


def test_an_offset_is_fitted_beside_the_kernels():
    rng = np.random.default_rng(0)
    sums, kernels = np.exp(rng.uniform(0, 3, 20)), rng.integers(40, 160, 20)
    names, whole = [str(i) for i in range(20)], 1.05 * sums - 0.002 * kernels - 0.2
    correction, _ = fit_correction(names, sums, whole, kernels.tolist())
    assert_correction(correction, scale=1.05, per_kernel_ms=-0.002, offset_ms=-0.2)
    noisy = (whole * np.exp(0.05 * rng.standard_normal(20))).tolist()
    _, fits = fit_correction(names, sums.tolist(), noisy, kernels.tolist())
    some = np.delete(np.arange(20), 4)
    without, _ = fit_correction(names[:19], sums[some].tolist(), np.delete(noisy, 4).tolist(), kernels[some].tolist())
    assert fits[4].left_out_ms == pytest.approx(without.network_ms(sums[4], int(kernels[4])))
    assert fits[4].left_out_ms != pytest.approx(fits[4].fitted_ms, rel=1e-4)
    few, _ = fit_correction(names[:7], sums[:7], whole[:7], kernels[:7].tolist())
    assert few.offset_ms == 0  # seven networks are too few for three coefficients


@pytest.mark.parametrize("chains_mib", [[9.7] * 8, [9.7 + 0.01 * i for i in range(8)], [3.0 + 3 * i for i in range(8)]])
def test_what_weights_save_shows_in_chains_that_differ(chains_mib):
    """Chance is not taken for it, and a disturbed time does no harm."""
    rng = np.random.default_rng(0)
    chains_mib = np.array(chains_mib)
    noise = 1 + 0.04 * rng.standard_normal((200, 8))
    noise[rng.random((200, 8)) < 0.05] *= 2
    mib = rng.uniform(0, 3, 200)
    ms = [(0.3 - 0.04 * m * np.exp(-chains_mib / 6)) * n for m, n in zip(mib, noise, strict=True)]
    found = residence.saved_by_mib_ms((m, list(t), list(chains_mib)) for m, t in zip(mib, ms, strict=True))
    assert found == (pytest.approx(0.04, rel=0.15) if np.ptp(chains_mib) > 1 else 0)


def test_kinds_are_told_apart():
    assert isinstance(phone_table("pixel1"), CalibratedTable)
    assert measured_table(random_archs(1, rng_seed=0)).kind == "measured"

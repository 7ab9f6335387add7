"""Tables that are calibrated to latencies of whole networks, or corrected by them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latency_luts
from latency_luts import calibrate, calibrated, known
from latency_luts.options import CalibrateOptions
from latency_luts.table import Correction, TableError
from search_spaces import text, zoo
from tests.conftest import options_of, random_archs
from tests.latency_tables import measured_table, phone_table


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
    measured, unknown = known.read_csv(Path(__file__).parents[1] / "data" / "phone_latencies.csv", phone)
    assert unknown == ()

    def told(found):
        return sorted((m.source_set, m.arch.name, m.arch.resolution_px, m.ms) for m in found)

    assert told(measured) == told(known.published(phone))
    assert (len(measured), len({m.arch for m in measured})) == (rows, networks)


def test_leave_one_out_is_computed_without_any_row_of_the_network():
    rows = known.published("pixel1")
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
    expected = calibrated.network_features(arch) @ [fitted.costs[name] for name in calibrated.FEATURES]
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
        (
            "network,latency_ms,madds\nMobileNetV2,3,900e6\n",
            "line 2: 'MobileNetV2' has 300.8 million multiply-adds at 224 px, and the line says 900: it is another",
        ),
        (
            "network,latency_ms,madds_m\nMobileNetV2,3,602\n",
            r"the line says 602 \(FLOPs are twice the multiply-adds\): it is another network of that name",
        ),
        ("network,latency_ms,madds_m\nMobileNetV2,3,many\n", "line 2: madds_m is 'many'; it must be a number above 0"),
        (
            "network,latency_ms,device\nMobileNetV2,3,phone\nMobileNetV1,4,b\nMnasNet-A1,4,\n",
            "line 4 names no device, and other lines name several; name it",
        ),
        (
            "network,latency_ms,device\nMobileNetV2,3,a\nMobileNetV1,4,b\n",
            "has several devices, a, b; device= must be one of them, or keep the lines of one",
        ),
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
        known.read_csv(path, "phone")


def test_a_latency_file_may_name_network_files_and_unknown_networks(tmp_path):
    (arch,) = random_archs(1, rng_seed=0)
    (tmp_path / "mine.json").write_text(text.to_json(arch))
    path = tmp_path / "f.csv"
    path.write_text(CSV + "mine.json,,3,\nMobileNetV2 0.5,96,2.5,\nMobileNetV9,224,1,\nMobileNetV2,224,,\n")
    measured, unknown = known.read_csv(path, "phone")
    assert [m.ms for m in measured] == [3.0, 2.5]
    assert measured[0].arch == arch
    assert measured[1].arch == zoo.get("mobilenet_v2", width=0.5, resolution_px=96)
    assert unknown == ("MobileNetV9",)


def test_of_several_devices_the_lines_of_one_are_taken(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("network,latency_ms,device,madds\nMobileNetV2,3,phone,300.8e6\nMobileNetV2,4,board,\n")
    (measured,), _ = known.read_csv(path, "phone")
    assert measured.ms == 3.0
    path.write_text("network,latency_ms,device\nMobileNetV2,3,its maker's name\nMobileNetV1,4,\n")
    assert len(known.read_csv(path, "phone")[0]) == 2


def test_a_borrowed_table_is_corrected_by_a_few_networks():
    archs = random_archs(5, rng_seed=0)
    table = measured_table(archs, ms=2.0, correction=Correction(offset_ms=-0.5, saved_by_mib_ms=0.1))
    borrowed = latency_luts.LatencyModel(table)
    measured = [known.KnownLatency(arch=arch, ms=1.5 * borrowed.latency_ms(arch) + 1, source_set="") for arch in archs]
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
    falling = [known.KnownLatency(arch=arch, ms=100 - ms(arch), source_set="") for arch in archs]
    with pytest.raises(ValueError, match="the latencies do not grow with those of the table of 'test': networks that"):
        calibrate.correct("board", table, falling)


def test_a_table_that_is_corrected_twice_says_whose_units_it_has():
    archs = random_archs(5, rng_seed=0)
    table = replace(measured_table(archs, ms=2.0), device="rpi4", provenance={"reference_ms": 2.0})
    timed = [known.KnownLatency(arch=arch, ms=3.0 * len(arch.blocks), source_set="") for arch in archs]
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

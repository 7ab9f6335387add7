"""Tables, calibration, and the models made of them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latency_luts
from latency_luts import build, calibrate, calibrated, measure, store
from latency_luts.key import key, parse
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
from search_spaces import spaces, zoo
from search_spaces.lower import lower
from tests.conftest import random_archs

HERE = Identity(cpu="test cpu", runtime="onnxruntime 1", threads=1, batch=1, dtype="fp32")


def measured_table(archs, ms=1.0, **changes) -> MeasuredTable:
    units = {key(unit): Timing(ms, 0.01, 20) for arch in archs for unit in lower(arch)}
    return MeasuredTable(device="test", identity=HERE, provenance={"date": "today"}, units=units, **changes)


def test_keys_are_reversible():
    for arch in [*(zoo.get(name) for name in zoo.names()), *random_archs(10, rng_seed=2)]:
        for unit in lower(arch):
            assert parse(key(unit)) == unit


@pytest.mark.parametrize("text", ["", "MBConv", "Foo(in_ch=3)@1x1", "ConvBN(in_ch=3,out_ch=8)@4x4", "ConvBN(x)@4x4"])
def test_no_key(text):
    with pytest.raises(ValueError, match="not a unit key"):
        parse(text)


# ---- shipped tables


@pytest.mark.parametrize("phone", calibrate.PHONES)
def test_shipped_phone_tables_are_honest_and_reproducible(phone):
    model = latency_luts.load(phone)
    assert model.table.kind == "calibrated"
    assert "not measured" in model.describe()
    assert model.error is not None
    assert model.error.networks == 9
    assert model.error.mape <= 0.08
    again = calibrate.calibrate(phone)
    for name, cost in model.table.costs.items():
        assert cost == pytest.approx(again.costs[name], rel=1e-6)
    assert min(model.table.costs.values()) >= 0


def test_leave_one_out_is_computed_without_the_network():
    table = calibrate.calibrate("pixel1")
    archs = [zoo.get(n, width=w) for n in zoo.names() for w in zoo.entry(n).pixel_ms]
    ms = [zoo.entry(n).pixel_ms[w][0] for n in zoo.names() for w in zoo.entry(n).pixel_ms]
    i = 4
    costs, _ = calibrated.fit(archs[:i] + archs[i + 1 :], ms[:i] + ms[i + 1 :])
    expected = calibrated.network_features(archs[i]) @ calibrated.cost_vector(costs)
    assert table.networks[i].left_out_ms == pytest.approx(expected)


def test_calibration_recovers_known_costs():
    costs = np.array([1e-7, 4e-7, 1e-8, 0.01])
    archs = random_archs(20, rng_seed=0)
    ms = [float(calibrated.network_features(arch) @ costs) for arch in archs]
    fitted, networks = calibrated.fit(archs, ms)
    np.testing.assert_allclose([fitted[name] for name in calibrated.FEATURES], costs, rtol=1e-6)
    assert max(abs(n.left_out_ms / n.ms - 1) for n in networks) < 1e-6


def test_calibration_needs_more_networks_than_coefficients():
    with pytest.raises(ValueError, match="4 networks for 4 coefficients; give at least 5"):
        calibrated.fit(random_archs(4, rng_seed=0), [1.0] * 4)


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


def test_missing_units_are_named():
    a, b = random_archs(2, rng_seed=0)
    model = latency_luts.LatencyModel(measured_table([a]))
    missing = next(unit for unit in lower(b) if unit not in lower(a))
    with pytest.raises(latency_luts.MissingUnitsError, match=re.escape(key(missing))) as caught:
        model.latency_ms(b)
    assert "python -m latency_luts.build device=test" in str(caught.value)


@pytest.mark.parametrize("name", spaces.names())
def test_batches_equal_single_networks(name):
    model = latency_luts.load("pixel1")
    space = spaces.get(name, base_width=0.35)
    indices = space.sample(np.random.default_rng(0), 50)
    expected = [model.latency_ms(space.decode(row)) for row in indices]
    np.testing.assert_allclose(model.latency_ms_batch(space, indices), expected, rtol=0, atol=1e-9)
    without_parts = replace(space, parts=())
    np.testing.assert_allclose(model.latency_ms_batch(without_parts, indices), expected, rtol=0, atol=1e-9)


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
    for name in zoo.names():
        ms = [model.latency_ms(zoo.get(name, width=width)) for width in (0.35, 0.5, 0.75, 1.0)]
        assert ms == sorted(ms)


def test_unknown_device_is_an_error_that_helps(tmp_path):
    with pytest.raises(TableError, match="no latency table for device 'pixel11'; did you mean pixel1"):
        latency_luts.load("pixel11")
    with pytest.raises(TableError, match="python -m latency_luts.build device=host"):
        store.load("host", tables_dir=tmp_path)


# ---- files


def test_tables_round_trip(tmp_path):
    fit = (NetworkFit(name="n", ms=2.0, fitted_ms=2.1, left_out_ms=2.2),)
    table = measured_table(random_archs(2, rng_seed=0), networks=fit, correction=Correction(scale=1.1, offset_ms=0.1))
    write(table, tmp_path / "t.json")
    assert read(tmp_path / "t.json") == table
    phone = calibrate.calibrate("pixel2")
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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_text(p.read_text()[:-200]), "not JSON"),
        (lambda p: p.write_text(p.read_text().replace("[1.0, 0.01, 20]", "[0.5, 0.01, 20]", 1)), "checksum"),
        (lambda p: p.write_text("[]"), "not a table of format 1"),
        (lambda p: p.write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda p: p.unlink(), "no table file"),
        (lambda p: rewritten(p, lambda d: d.update(format=99)), "its format is 99"),
        (lambda p: rewritten(p, lambda d: d.update(kind="guessed")), "its kind is 'guessed'"),
        (lambda p: rewritten(p, lambda d: d["units"].update({next(iter(d["units"])): [-1, 0, 1]})), "at least 0"),
        (lambda p: rewritten(p, lambda d: d["units"].update({next(iter(d["units"])): [float("nan"), 0, 1]})), "is nan"),
        (lambda p: rewritten(p, lambda d: d["units"].update({"what": [1, 0, 1]})), "not a unit key"),
        (lambda p: rewritten(p, lambda d: d.pop("identity")), "identity"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, damage, message):
    path = tmp_path / "t.json"
    write(measured_table(random_archs(1, rng_seed=0)), path)
    damage(path)
    with pytest.raises(TableError, match=message):
        read(path)


# ---- building


class FakeClock:
    """Stands in for `time_model`: a unit costs 1 ms; may break down after some calls."""

    def __init__(self, break_after=10**9):
        self.calls, self.break_after = 0, break_after

    def __call__(self, model, in_shape, protocol):
        if self.calls == self.break_after:
            raise KeyboardInterrupt
        self.calls += 1
        return Timing(1.0, 0.01, 20)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(build, "identity", lambda: HERE)

    def use(**settings):
        clock = FakeClock(**settings)
        monkeypatch.setattr(build, "time_model", clock)
        return clock

    return use


def test_an_interrupted_build_continues(tmp_path, fake):
    archs = random_archs(5, rng_seed=0)
    units = {unit for arch in archs for unit in lower(arch)}
    path = tmp_path / "host.json"
    fake(break_after=7)
    with pytest.raises(KeyboardInterrupt):
        build.build("host", units, archs, path)
    assert not path.exists()
    log = tmp_path / "host.json.measured"
    log.write_text(log.read_text() + '["ConvBN(in_ch=3')  # the line that kill -9 cut short
    clock = fake()
    table = build.build("host", units, archs, path)
    assert clock.calls == len(units) - 7 + len(archs)
    assert set(table.units) == {key(unit) for unit in units}
    assert read(path) == table
    assert not log.exists()
    clock = fake()
    assert build.build("host", units, archs, path) == table
    assert clock.calls == 0


def test_only_missing_units_are_measured(tmp_path, fake):
    a, b = random_archs(2, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    build.build("host", lower(a), [a] * 4, path)
    clock = fake()
    build.build("host", {*lower(a), *lower(b)}, [b] * 4, path)
    assert clock.calls == len(set(lower(b)) - set(lower(a))) + 4


def test_two_machines_are_never_mixed(tmp_path, fake, monkeypatch):
    archs = random_archs(4, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    build.build("host", lower(archs[0]), [archs[0]] * 4, path)
    other = Identity(cpu="another cpu", runtime=HERE.runtime, threads=1, batch=1, dtype="fp32")
    monkeypatch.setattr(build, "identity", lambda: other)
    with pytest.raises(TableError, match="measured with cpu test cpu, but here is cpu another cpu; .* fresh=true"):
        build.build("host", lower(archs[1]), [archs[1]] * 4, path)
    build.build("host", lower(archs[1]), [archs[1]] * 4, path, fresh=True)
    assert read(path).identity == other


def test_the_correction_is_a_line_and_its_error_is_left_out():
    sums = [1.0, 2.0, 4.0, 8.0, 3.0]
    correction, fits = build.fit_correction(list("abcde"), sums, [1.2 * s + 0.3 for s in sums])
    assert correction == Correction(scale=pytest.approx(1.2), offset_ms=pytest.approx(0.3))
    assert max(abs(f.left_out_ms / f.ms - 1) for f in fits) < 1e-9
    assert build.fit_correction(["a"], [1.0], [2.0]) == (Correction(), ())


def test_measuring_this_machine(tmp_path):
    archs = [zoo.get("mobilenet_v3_small", width=w, resolution_px=64) for w in (0.35, 0.5, 0.75, 1.0)]
    units = {unit for arch in archs for unit in lower(arch)}
    table = build.build("host", units, archs, tmp_path / "host.json")
    assert table.identity == measure.identity()
    assert all(timing.ms > 0 and timing.runs >= 15 for timing in table.units.values())
    model = latency_luts.LatencyModel(table)
    assert "measured on" in model.describe()
    assert model.latency_ms(archs[3]) > model.latency_ms(archs[0])


def test_kinds_are_told_apart():
    assert isinstance(calibrate.calibrate("pixel1"), CalibratedTable)
    assert measured_table(random_archs(1, rng_seed=0)).kind == "measured"

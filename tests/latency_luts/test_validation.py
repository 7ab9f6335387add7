"""Validation: how wrong a table is."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

import latency_luts
from latency_luts import build, schedule, validate
from latency_luts.options import ValidateOptions
from latency_luts.table import CalibratedTable, Identity, MeasuredTable, TableError, read, write
from nas.job import Job
from nas.plan import open_latency
from search_spaces import spaces, zoo
from search_spaces.arch import ConvBN
from search_spaces.lower import lower, unit
from tests.conftest import options_of, random_archs
from tests.fake_machine import HERE, named


def test_kendall_tau():
    assert validate.kendall_tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert validate.kendall_tau([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert validate.kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)


def test_validation_figures():
    measured = [
        validate.Comparison(name=name, predicted_ms=p, turns_ms=(9.8, 10.0, 10.0, 10.1))
        for name, p in (("a", 10.2), ("b", 9.3), ("c", 12.0), ("d", 10.4))
    ]
    figures = validate.summary(measured, "these")
    assert figures.nets == 4
    assert figures.mape == pytest.approx((0.02 + 0.07 + 0.2 + 0.04) / 4)
    assert figures.bias == pytest.approx((0.02 - 0.07 + 0.2 + 0.04) / 4)
    assert (figures.within_5pct, figures.within_10pct) == (0.5, 0.75)
    assert (figures.worst, figures.worst_error) == ("c", pytest.approx(0.2))
    assert figures.noise == pytest.approx(0.0075)  # 0.2, 0, 0 and 0.1 of 10 ms


def test_validation_uses_networks_of_no_fit():
    archs = validate.sample(40, widths=[0.5, 1.0], resolution_px=96, names=["mnasnet", "mobilenet_v3"], rng_seed=0)
    assert len(archs) == 40
    assert {arch.resolution_px for arch in archs} == {96}
    for width in (0.5, 1.0):
        space = spaces.get("mnasnet", base_width=width, resolution_px=96)
        fitted = {space.decode(row) for row in space.sample(np.random.default_rng(0), schedule.FIT_SAMPLES)}
        assert not fitted & set(archs)
    assert set(zoo.names(mobile=True)) <= {arch.name for arch in archs}


def test_a_table_is_validated_at_its_own_speed(tmp_path, fake):
    archs = random_archs(6, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    units = {each for arch in archs for each in lower(arch)}
    table = build.build("host", units, named(archs), path)
    fake(slowness=lambda call: 1.3)
    others = random_archs(4, rng_seed=9)
    measured, model, speed = validate.validate(latency_luts.LatencyModel(table), others, path=path, bursts=4)
    assert speed == pytest.approx(1.3)
    assert max(abs(m.error) for m in measured) < 1e-6
    assert model.latency_ms(others[0]) == pytest.approx(1.1 * len(others[0].blocks))


def test_the_table_s_own_networks_say_how_fast_the_machine_is(tmp_path, fake):
    """Networks are 4 % slower than when the table was built, which the references do not notice."""
    archs, others = random_archs(10, rng_seed=0), random_archs(4, rng_seed=9)
    path = tmp_path / "host.json"
    fake()
    table = build.build("host", {each for arch in (*archs, *others) for each in lower(arch)}, named(archs), path)
    errors = []
    for known in (10, 7):  # 7 are too few: the references say it
        write(replace(table, networks=table.networks[:known]), path)
        machine = fake()
        machine.network_ms = lambda arch: 1.04 * 1.1 * len(arch.blocks)
        measured, _, speed = validate.validate(latency_luts.load(str(path)), others, path=path, bursts=4)
        assert [len(m.turns_ms) for m in measured] == [validate.TURNS] * 4
        errors.append((max(abs(m.error) for m in measured), speed))
    (by_known, speed), (by_references, unnoticed) = errors
    assert by_known < 1e-6
    assert speed == pytest.approx(1.04)
    assert by_references == pytest.approx(1 - 1 / 1.04)
    assert unnoticed == pytest.approx(1)


def test_networks_whose_turns_disagree_are_timed_again(tmp_path, fake, monkeypatch):
    archs = random_archs(4, rng_seed=0)
    path = tmp_path / "host.json"
    machine = fake()
    table = build.build("host", {each for arch in archs for each in lower(arch)}, named(archs), path)
    steady = machine.time_networks

    def unsteady(archs, *, bursts):
        first, *others = steady(archs, bursts=bursts)
        slow = 1.5 if machine.networks < before + 2 * len(archs) and len(archs) > 1 else 1.0
        return [replace(first, ms=first.ms * slow), *others]

    monkeypatch.setattr(machine, "time_networks", unsteady)
    before = machine.networks
    measured, _, _ = validate.validate(latency_luts.LatencyModel(table), archs, path=path, bursts=4)
    assert [len(m.turns_ms) for m in measured] == [validate.TURNS + validate.TURNS_AGAIN, *[validate.TURNS] * 3]
    assert abs(measured[0].error) < 1e-6  # the slow turn is outvoted
    assert measured[0].noise == pytest.approx(0.5 / (validate.TURNS + validate.TURNS_AGAIN))
    assert measured[1].noise == pytest.approx(0)


def test_what_lies_in_its_interval_is_counted():
    rows = [
        validate.Comparison(name="a", predicted_ms=10.0, turns_ms=(ms,), interval_ms=interval)
        for ms, interval in (
            (9.5, (9.0, 11.0)),
            (8.9, (9.0, 11.0)),
            (11.0, (9.0, 11.0)),
            (11.1, (9.0, 11.0)),
            (1, None),
        )
    ]
    assert [row.covered for row in rows] == [True, False, True, False, None]
    (shares,) = [
        list(column.cells)
        for column in validate._rows(rows, [], title="").columns
        if column.header == "in 90 % interval"
    ]
    assert shares[0] == "50%"


def test_a_table_says_its_latest_validation(tmp_path, fake):
    fake()
    archs = random_archs(4, rng_seed=0)
    table = build.build("host", lower(archs[0]), named([archs[0]] * 4), tmp_path / "host.json")
    figures = validate.summary([validate.Comparison(name="a", predicted_ms=11.0, turns_ms=(10.0,))] * 2, "these")
    write(replace(table, validation=figures), tmp_path / "host.json")
    model = latency_luts.load("host", tables_dir=tmp_path)
    assert isinstance(model.table, MeasuredTable)
    assert not isinstance(model.table, CalibratedTable)
    assert "error 10.0% on 2 other networks (worst 10.0%)" in model.describe()


def test_a_validation_is_of_the_table_that_is_there(tmp_path, fake):
    """Another build may have added units meanwhile, or measured the table anew."""
    archs, path = random_archs(6, rng_seed=0), tmp_path / "host.json"
    fake()
    table = build.build("host", {each for a in archs for each in lower(a)}, named(archs), path)
    figures = validate.summary([validate.Comparison(name="a", predicted_ms=11.0, turns_ms=(10.0,))] * 2, "these")
    grown = build.build("host", {unit(ConvBN(in_ch=8, out_ch=24, kernel=5), 9, 9)}, {}, path)
    validate._keep(figures, table, path)
    kept = read(path)
    assert isinstance(kept, MeasuredTable)
    assert (kept.units, kept.validation) == (grown.units, figures)
    write(replace(grown, correction=replace(grown.correction, scale=2.0)), path)
    with pytest.raises(TableError, match=r"host\.json was measured anew meanwhile; validate it again"):
        validate._keep(figures, table, path)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"resolution_px": 1}, "resolution_px=1: it must be"),
        ({"resolution_px": 10**9}, "resolution_px=1000000000: it must be"),
        ({"nets": 9}, "nets=9: it must be"),
        ({"bursts": 0}, "bursts=0: it must be"),
        ({"widths": [0.0]}, "widths="),
        ({"widths": [float("nan")]}, "widths="),
        ({"widths": []}, "widths="),
        ({"spaces": []}, "spaces="),
        ({"rng_seed": -1}, "rng_seed=-1: it must be"),
        ({"model": "guessed"}, "model=guessed; allowed"),
        ({"threads": 0}, "threads=0: it must be"),
        ({"device": "pixel1"}, "the table of 'pixel1' is calibrated, not measured"),
        ({"device": "nowhere"}, "no latency table for device 'nowhere'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(tmp_path, fake, monkeypatch, option, message):
    archs = random_archs(4, rng_seed=0, resolution_px=32)
    machine = fake()
    monkeypatch.setattr(schedule, "identity", lambda **how: Identity(**{**vars(HERE), **how, "runtime": HERE.runtime}))
    build.build("host", {each for a in archs for each in lower(a)}, named(archs), tmp_path / "host.json")
    before = (machine.chains, machine.networks)
    values = {"device": "host", "nets": 10, "bursts": 4, "resolution_px": 32, "widths": [0.35], "spaces": ["mnasnet"]}
    values |= {"model": "table", "rng_seed": 0, "threads": 1, "batch": 1, "dtype": "fp32", "tables_dir": str(tmp_path)}
    with pytest.raises(ValueError, match=message):
        validate._main(options_of(ValidateOptions, **{**values, **option}))
    assert (machine.chains, machine.networks) == before


def test_a_table_that_is_too_wrong_is_used_only_if_that_is_accepted(tmp_path, fake):
    archs = random_archs(8, rng_seed=0)
    fake()
    table = build.build("host", {each for a in archs for each in lower(a)}, named(archs), tmp_path / "host.json")
    latency_luts.LatencyModel(table).check_error(0.01)
    figures = validate.summary([validate.Comparison(name="a", predicted_ms=11.24, turns_ms=(10.0,))] * 2, "these")
    wrong = latency_luts.LatencyModel(replace(table, validation=figures))
    with pytest.raises(
        TableError,
        match=r"the table of 'host' is 12\.4% off on whole networks, and table_error=0\.08 is accepted: "
        r"measure it again when the machine is quiet \(python -m latency_luts.build device=host fresh=true\), "
        r"or accept it with table_error=0\.13",
    ):
        wrong.check_error(0.08)
    wrong.check_error(0.13)
    unfitting = tuple(replace(n, left_out_ms=1.2 * n.ms) for n in table.networks)
    with pytest.raises(TableError, match=r"is 20\.0% off on whole networks"):
        latency_luts.LatencyModel(replace(table, networks=unfitting)).check_error(0.08)
    latency_luts.load("pixel1").check_error(1e-6)  # calibrated: says its error, and that it was not measured
    write(replace(table, device="board", validation=figures), tmp_path / "board.json")
    target = SimpleNamespace(device="board")
    job = SimpleNamespace(run_dir=None, resumed=False, target=target, dry_run=False, tables_dir=tmp_path)
    job.table_error = 0.08
    with pytest.raises(TableError, match=r"accept it with table_error=0\.13"):
        open_latency(cast(Job, job))
    job.table_error = 0.13
    assert open_latency(cast(Job, job)).device == "board"

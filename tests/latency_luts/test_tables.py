"""Keys of units, and tables in files."""

import json
from dataclasses import replace

import pytest

import latency_luts
from latency_luts.key import key, parse
from latency_luts.table import CalibratedTable, Correction, NetworkFit, TableError, Timing, read, write
from search_spaces import zoo
from search_spaces.lower import lower
from tests.conftest import random_archs
from tests.latency_tables import HERE, measured_table, phone_table


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


def test_kinds_are_told_apart():
    assert isinstance(phone_table("pixel1"), CalibratedTable)
    assert measured_table(random_archs(1, rng_seed=0)).kind == "measured"
